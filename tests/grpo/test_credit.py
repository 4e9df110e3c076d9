"""Which token answers for which term: by hand, exactly on average, and on what a template reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import pytest
import torch
from reading_support import FRAMES, reward, sample, template

from adfm.grpo.collect import Collected
from adfm.grpo.credit import Credit, PrefixBaseline, UntilSettled, WholeCompletion
from adfm.grpo.objective import GRPO, DrGRPO
from adfm.grpo.rows import RowMaker
from adfm.models.vlm import VLM
from adfm.types import Completion, Group, Prompt, Rewards, Settled


def letters(ids: Sequence[int]) -> str:
    """A token is a character, and its number says which."""
    return "".join(map(chr, ids))


def completion(text: str) -> Completion:
    ids = np.array([ord(letter) for letter in text])
    return Completion(token_ids=ids, sampler_logprob=np.zeros(len(ids)), text=text, truncated=False)


def group(texts: Sequence[str], first: Sequence[float], second: Sequence[float], until: Sequence[int]) -> Group:
    """Two terms, of which the first is settled after so many characters and the second hangs on everything."""
    prompt = template("three_stage").ask(sample(), FRAMES)
    settled = {"first": Settled(weighted=np.array(first), characters=tuple(until))}
    terms = {"first": np.array(first), "second": np.array(second)}
    return Group(
        prompt=prompt,
        completions=tuple(map(completion, texts)),
        verdicts=(),
        rewards=Rewards(terms=terms, total=np.array(first) + np.array(second), settled=settled),
    )


def test_by_hand() -> None:
    made = group(["abc", "de"], first=[4.0, 0.0], second=[0.0, 1.0], until=[1, 2])
    whole = WholeCompletion()(made, DrGRPO().scale, letters)
    assert [shared.tolist() for shared in whole] == [[1.5, 1.5, 1.5], [-1.5, -1.5]]
    settled = UntilSettled()(made, DrGRPO().scale, letters)
    assert [shared.tolist() for shared in settled] == [[1.5, -0.5, -0.5], [-1.5, -1.5]]


def test_terms_that_cancel_out_are_not_blown_up() -> None:
    made = group(["abc", "abc"], first=[1.0, 0.0], second=[0.0, 1.001], until=[1, 1])
    shared = UntilSettled()(made, GRPO().scale, letters)
    assert max(np.abs(advantages).max() for advantages in shared) < 1


def test_where_nothing_is_settled_every_token_has_its_completions_advantage() -> None:
    made = group(["abc", "de"], first=[4.0, 0.0], second=[1.0, 0.0], until=[3, 2])
    whole = WholeCompletion()(made, GRPO().scale, letters)
    settled = UntilSettled()(made, GRPO().scale, letters)
    assert [one.tolist() for one in settled] == [pytest.approx(one.tolist()) for one in whole]


def test_those_that_began_alike_are_compared_with_each_other_by_hand() -> None:
    made = group(["abx", "aby", "aq", "z"], first=[0.0] * 4, second=[8.0, 4.0, 0.0, 0.0], until=[0] * 4)
    one, two, three, four = (one.tolist() for one in PrefixBaseline(prior=1.0)(made, DrGRPO().scale, letters))
    # behind `a` two others are left, who earned 4 and 0; behind `ab` one, who earned 4; three quarters of each
    mean, after_a = 4 / 3, (4 + 0 + 4 / 3) / 3
    assert one == pytest.approx([0.75 * (8 - base) for base in (mean, after_a, (4 + after_a) / 2)])
    mean, after_a = 8 / 3, (8 + 0 + 8 / 3) / 3
    assert two == pytest.approx([0.75 * (4 - base) for base in (mean, after_a, (8 + after_a) / 2)])
    assert three == pytest.approx([0.75 * (0 - base) for base in (4, (8 + 4 + 4) / 3)])
    assert four == pytest.approx([0.75 * (0 - 4)])


def test_the_first_token_has_the_advantage_of_its_completion() -> None:
    made = group(["abx", "aby", "aq", "z"], first=[0.0] * 4, second=[8.0, 4.0, 0.0, 1.0], until=[0] * 4)
    whole = WholeCompletion()(made, GRPO().scale, letters)
    shared = PrefixBaseline()(made, GRPO().scale, letters)
    assert [one[0] for one in shared] == pytest.approx([one[0] for one in whole])


def test_completions_that_are_the_same_word_for_word_have_no_advantage_over_each_other() -> None:
    made = group(["abc", "abc"], first=[0.0] * 2, second=[1.0, 1.0], until=[0] * 2)
    assert not np.concatenate(PrefixBaseline()(made, DrGRPO().scale, letters)).any()


def test_a_prior_of_0_is_refused() -> None:
    with pytest.raises(ValueError, match=r"objective\.credit\.prior is 0; it must be above 0"):
        PrefixBaseline(prior=0)


def moments(credit: Credit, completions: int = 2, until: int = 1) -> tuple[np.ndarray, float]:
    """Mean and summed variance of the gradient for a policy of two tokens, over every group of so many completions.

    The policy writes `a` or `b`, then `x` or `y`; the first letter earns the term that is settled after `until`
    letters, both together the open one.
    Its parameters are the logit of `b`, and that of `y` behind each of them.
    """
    chance = {"a": 0.3, "b": 0.7, "ax": 0.6, "ay": 0.4, "bx": 0.1, "by": 0.9}
    earned = {"ax": (3.0, 0.5), "ay": (3.0, 0.0), "bx": (0.0, 0.2), "by": (0.0, 1.0)}

    def gradients(text: str) -> np.ndarray:
        """Of the log-probability of each token, by the three parameters."""
        first, second = np.zeros(3), np.zeros(3)
        first[0] = (text[0] == "b") - chance["b"]
        second[1 + (text[0] == "b")] = (text[1] == "y") - chance[text[0] + "y"]
        return np.stack([first, second])

    drawn, weights = [], []
    for texts in product(earned, repeat=completions):
        rewards = [earned[text] for text in texts]
        made = group(texts, [one for one, _ in rewards], [two for _, two in rewards], until=[until] * completions)
        shared = credit(made, DrGRPO().scale, letters)
        drawn.append(sum(advantages @ gradients(text) for text, advantages in zip(texts, shared, strict=True)))
        weights.append(np.prod([chance[text[0]] * chance[text] for text in texts]))
    mean = np.average(drawn, axis=0, weights=weights)
    return mean, float(np.average(((np.array(drawn) - mean) ** 2).sum(1), weights=weights))


def test_what_is_settled_takes_nothing_from_the_gradient_but_noise() -> None:
    (whole, whole_variance), (settled, settled_variance) = moments(WholeCompletion()), moments(UntilSettled())
    assert np.abs(whole).min() > 0.01
    assert settled == pytest.approx(whole, abs=1e-12)
    assert settled_variance < 0.9 * whole_variance


def test_a_baseline_of_the_others_that_began_alike_takes_nothing_from_the_gradient_but_noise() -> None:
    (whole, whole_variance), (prefix, prefix_variance) = (
        moments(credit, completions=4, until=2) for credit in (WholeCompletion(), PrefixBaseline())
    )
    assert np.abs(whole).min() > 0.01
    assert prefix == pytest.approx(whole, abs=1e-12)
    assert prefix_variance < 0.85 * whole_variance


BOX = "<think>Look at [30, 40, 60, 70].</think>"
TEXTS = [
    f"{BOX}<rethink>A deep scratch, so the answer is a.</rethink><answer>a</answer>",
    f"{BOX}<rethink>A hole, so the answer is b.</rethink><answer>b</answer>",
    "<think>Nothing stands out.</think><rethink>Even, so the answer is b.</rethink><answer>b</answer>",
    f"{BOX}<rethink>A hole, and no end",
]


@pytest.mark.parametrize("credit", [WholeCompletion(), UntilSettled()])
def test_the_rows_of_an_update_carry_it(credit: Credit, vlm: VLM, make_prompt: Callable[..., Prompt]) -> None:
    asked = make_prompt("one", [(56, 56)])
    judged = template("three_stage").ask(sample(), FRAMES)
    completions = tuple(
        Completion(token_ids=np.array(ids), sampler_logprob=np.zeros(len(ids)), text=text, truncated=False)
        for text in TEXTS
        for ids in [vlm.tokenize(text)]
    )
    verdicts = tuple(template("three_stage").read(text, judged) for text in TEXTS)
    rewards = reward("fine_grained_strict")(verdicts, judged)
    made = Group(prompt=asked, completions=completions, verdicts=verdicts, rewards=rewards)
    objective = GRPO(credit=credit)
    maker = RowMaker(vlm, objective, token_budget=4096)
    collected = Collected(
        prompts=[asked], completions=[completions], seconds_rollout=0, seconds_reward=0, _judgements=[], _groups=[made]
    )
    (pack,) = maker.packs(collected)
    row = maker.row(pack, [made], completions_in_step=4)
    of_tokens = torch.split(row.advantage, [len(one.token_ids) for one in completions])
    whole = torch.tensor(objective.advantages(rewards.total), dtype=torch.float32)
    for index, (one, advantages) in enumerate(zip(completions, of_tokens, strict=True)):
        ids = one.token_ids.tolist()
        behind = [count for count in range(len(ids)) if "</think>" in vlm.decode(ids[:count])]
        settled = behind if credit == UntilSettled() and index < 3 else []
        open_tokens = [count for count in range(len(ids)) if count not in settled]
        assert torch.allclose(advantages[open_tokens], whole[index])
        boxes = rewards.settled["localization"].weighted
        words = whole[index] - (boxes - boxes.mean())[index] / objective.scale(rewards.total)
        assert torch.allclose(advantages[settled[:1]], words.float())
        assert not settled or not torch.allclose(words.float(), whole[index])
