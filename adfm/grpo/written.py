"""What a rollout leaves behind: the keys and values of its prompts and completions, so that other ends can be forced.

A text that begins as a completion does needs no second reading of the prompt and of what is alike. Of every row only
the last known token is read again, since its hidden state predicts what follows, and then what is new: a stem, and
behind it rests that do not see each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence

from adfm.grpo.decoder import Rows
from adfm.grpo.logprob import head_scores
from adfm.models.vlm import VLM, EncodedPrompt

States = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer, `[row, kv_head, token, dim]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Texts to force behind a prompt: they begin with `stem`, and each goes on with one of `rests`."""

    stem: Sequence[int]
    rests: Sequence[Sequence[int]]


class Written:
    """Keys and values of the rows of one rollout, in their order: of the prompt, and of all tokens but the last.

    Attributes:
        encoded: The prompt of each row.
        token_ids: What each row wrote, filled in when all have ended.
    """

    def __init__(self, encoded: Sequence[EncodedPrompt], rows: Rows) -> None:
        """Watch rows of which nothing is written yet; when they move to other tensors, these stay."""
        self.group_of_row = rows.prompts.group_of_row
        self.encoded = [encoded[group] for group in self.group_of_row.tolist()]
        self.token_ids: list[list[int]] = [[] for _ in self.encoded]
        self._prompts: States = list(rows.prompts.layers)
        self._own: States = list(rows.store)
        self._rows = rows
        self._active = torch.arange(len(self.encoded), device=self.group_of_row.device)
        rows.before_drop = self._save

    def close(self, token_ids: Sequence[Sequence[int]]) -> None:
        """Take what was written, and let the rows go."""
        self._save(torch.arange(len(self._active), device=self._active.device))
        self._rows.before_drop = None
        self.token_ids = [list(ids) for ids in token_ids]

    def _save(self, kept: Int[Tensor, " kept"]) -> None:
        for (keys, values), (new_keys, new_values) in zip(self._own, self._rows.store, strict=True):
            if keys is not new_keys:
                keys[self._active], values[self._active] = new_keys, new_values
        self._active = self._active[kept]

    @torch.no_grad()
    def forced(self, vlm: VLM, ends: Mapping[int, Ends]) -> dict[int, list[float]]:
        """Return, by row, the log-probability of each rest behind prompt and stem, summed in float64.

        The distribution is that of temperature 1; see `adfm.grpo.logprob`. `ends` are by row; the others are not read.
        """
        if not ends:
            return {}
        branches = [_Branch.of(self.encoded[row], self.token_ids[row], one) for row, one in ends.items()]
        device = vlm.device
        token_ids = pad_sequence([torch.tensor(one.token_ids) for one in branches], batch_first=True).to(device)
        positions = pad_sequence([torch.tensor(one.positions) for one in branches], batch_first=True).to(device)
        hidden = vlm.base.model.language_model(
            inputs_embeds=vlm.base.get_input_embeddings()(token_ids),
            position_ids=positions.expand(3, -1, -1),
            use_cache=False,
            layout=self._layout(list(ends), branches, device),
        ).last_hidden_state
        row = torch.tensor([at for at, one in enumerate(branches) for _ in one.predictors], device=device)
        predictor = torch.tensor([place for one in branches for place in one.predictors], device=device)
        targets = torch.tensor([target for one in branches for target in one.targets], device=device)
        scores = head_scores(vlm.base.lm_head, hidden[row, predictor], targets, 1.0, vlm.suppressed_token_ids)
        logprobs = iter(scores.logprob.double().tolist())
        return {at: [math.fsum(next(logprobs) for _ in rest) for rest in one.rests] for at, one in ends.items()}

    def _layout(self, rows: Sequence[int], branches: Sequence[_Branch], device: torch.device) -> ForcedLayout:
        prompt = torch.tensor([one.prompt_columns for one in branches])
        own = torch.tensor([one.own_columns for one in branches])
        columns = int(own.max())
        width = max(len(one.token_ids) for one in branches)
        among_new = torch.eye(width, dtype=torch.bool).repeat(len(branches), 1, 1)
        for mask, one in zip(among_new, branches, strict=True):
            mask[: len(one.token_ids), : len(one.token_ids)] = one.sees()
        before = torch.cat(
            [
                torch.arange(self._prompts[0][0].shape[2]) < prompt[:, None],
                torch.arange(columns) < own[:, None],
            ],
            dim=1,
        )
        mask = torch.cat([before[:, None].expand(-1, width, -1), among_new], dim=2)
        own_states = [(keys[:, :, :columns], values[:, :, :columns]) for keys, values in self._own]
        at = torch.tensor(rows, device=device)
        return ForcedLayout(self._prompts, self.group_of_row[at], own_states, at, mask[:, None].to(device))


@dataclass(frozen=True, slots=True)
class ForcedLayout:
    """The attention of tokens forced behind rows: over prompt and own columns, and among themselves, by a mask."""

    prompts: States
    group_of_row: Int[Tensor, " row"]
    own: States
    rows: Int[Tensor, " row"]
    """Of all rows, those that something is forced behind."""
    mask: Bool[Tensor, "row 1 token column"]

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float, layer: int) -> Float[Tensor, "_ _ _ _"]:
        """See `adfm.grpo.attention.Layout.attend`."""
        (prompt_key, prompt_value), (own_key, own_value) = self.prompts[layer], self.own[layer]
        key = torch.cat([prompt_key[self.group_of_row], own_key[self.rows], key], dim=2)
        value = torch.cat([prompt_value[self.group_of_row], own_value[self.rows], value], dim=2)
        if key.is_cuda:  # see `GroupLayout.attend`
            repeats = query.shape[1] // key.shape[1]
            key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
        is_grouped = query.shape[1] != key.shape[1]
        out = scaled_dot_product_attention(query, key, value, attn_mask=self.mask, scale=scaling, enable_gqa=is_grouped)
        return out.transpose(1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Branch:
    """The tokens that a row is given anew: the last one known, the stem behind it, and the rests."""

    prompt_columns: int
    """Of the prompt's keys, how many stand before the tokens."""
    own_columns: int
    stem: list[int]
    rests: Sequence[Sequence[int]]
    first_position: int
    token_ids: list[int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "token_ids", [*self.stem, *(token for rest in self.rests for token in rest)])

    @classmethod
    def of(cls, encoded: EncodedPrompt, written: Sequence[int], ends: Ends) -> _Branch:
        """Begin at the last token that stem and completion have in common and whose keys are there."""
        pairs = zip(written[:-1], ends.stem, strict=False)
        alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        known = int(encoded.token_ids[-1]) if alike == 0 else ends.stem[alike - 1]
        return cls(
            prompt_columns=len(encoded.token_ids) - (alike == 0),
            own_columns=max(0, alike - 1),
            stem=[known, *ends.stem[alike:]],
            rests=ends.rests,
            first_position=encoded.next_position + alike - 1,
        )

    @property
    def starts(self) -> list[int]:
        """Where each rest begins among the tokens."""
        lengths = [len(self.stem), *map(len, self.rests)]
        return [sum(lengths[: place + 1]) for place in range(len(self.rests))]

    @property
    def positions(self) -> list[int]:
        """Of each token; every rest goes on where the stem ends."""
        offsets = [*range(len(self.stem)), *(len(self.stem) + at for rest in self.rests for at in range(len(rest)))]
        return [self.first_position + offset for offset in offsets]

    @property
    def predictors(self) -> list[int]:
        """Where the token stands that predicts each token of the rests."""
        return [
            start + at - 1 if at else len(self.stem) - 1
            for start, rest in zip(self.starts, self.rests, strict=True)
            for at in range(len(rest))
        ]

    @property
    def targets(self) -> list[int]:
        """Return the tokens of the rests."""
        return self.token_ids[len(self.stem) :]

    def sees(self) -> Bool[Tensor, "token token"]:
        """Return which token may look at which: at the stem and its own rest, up to itself."""
        rest_of = torch.tensor([-1] * len(self.stem) + [at for at, rest in enumerate(self.rests) for _ in rest])
        return ((rest_of == -1) | (rest_of == rest_of[:, None])).tril()
