"""A model in training on DeepSpeed: sharded or not, on CPU or GPU, with any number of micro-batches per update.

The caller divides its losses by a denominator over all ranks and calls `backward` once per micro-batch; the gradient of
an update is then the plain sum over micro-batches and ranks, at every ZeRO stage. ZeRO-2 exchanges gradients within
each backward and ZeRO-3 weights within each forward, so all ranks must run equally many: a rank with less to do repeats
a micro-batch with its loss multiplied by 0.

DeepSpeed is imported when the first engine is made, never with this module: it is slow to load and disturbs others.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adfm.errors import AdfmError, ConfigError
from adfm.grpo import checkpoint, zero
from adfm.grpo.average import Average, MeanWeights
from adfm.grpo.distributed import Ranks
from adfm.grpo.schedule import Schedule

IDENTITY = "identity.json"


class Engine(Ranks):
    """The scorer's trainable parameters, their optimizer and their schedule.

    Args:
        scorer: a module whose forward returns a tensor, a tuple of tensors or a dataclass of tensors. It is moved to
            the device and converted to `dtype`. Only parameters that require gradients are trained.
        optimizer: makes the torch optimizer from a list of parameters, for example `partial(AdamW, lr=1e-5)`.
        schedule: factor of the learning rate for each update.
        average: what `averaged` gives; None for the newest weights.
        max_grad_norm: gradients with a larger norm are scaled down to it; 0 leaves them as they are.
        deepspeed: settings for DeepSpeed, of which `zero_optimization.stage` decides what is sharded.
        dtype: float32, or bfloat16 with float32 master weights. Micro-batches are added up in float32, except that
            stage 0 in bfloat16 adds them in bfloat16 (DeepSpeed has nothing else there).
        total_steps: updates of the whole run, for the schedule.
        device: see `Ranks`.

    Raises:
        ConfigError: nothing is trainable, or `deepspeed` contradicts the rest.
    """

    def __init__(
        self,
        scorer: nn.Module,
        *,
        optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
        schedule: Schedule,
        max_grad_norm: float,
        deepspeed: Mapping[str, Any],
        dtype: torch.dtype,
        total_steps: int,
        average: Average | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        super().__init__(device)
        trained = [parameter for parameter in scorer.parameters() if parameter.requires_grad]
        if not trained:
            raise ConfigError("model: no parameter is trainable; set model.freeze.language=false or give model.lora")
        config = zero.complete(deepspeed, trained, dtype, max_grad_norm)
        self.stage: int = config["zero_optimization"]["stage"]
        self.dtype = dtype
        self.schedule = schedule
        self.max_grad_norm = max_grad_norm
        self.total_steps = total_steps
        torch_optimizer = optimizer(trained)
        self.learning_rates: list[float] = [group["lr"] for group in torch_optimizer.param_groups]
        self._root = zero.TensorsOnly(scorer)
        self._is_gathered = False
        self._deepspeed = zero.initialize(self._root, torch_optimizer, config, self.device)
        self._mean = None if average is None else MeanWeights(average, trained)
        self._own_norm: Tensor | None = None
        if self.stage == 0 and dtype == torch.float32:  # where DeepSpeed clips but does not tell the norm
            torch_optimizer.register_step_pre_hook(lambda *_: self._clip(trained))

    @property
    def step(self) -> int:
        """The number of updates made so far, those before a resume included."""
        return self._deepspeed.global_steps

    def __call__(self, packed: Any) -> Any:
        """Run the scorer on one micro-batch; under ZeRO-3 all ranks must do so together."""
        return self._root.rebuild(self._deepspeed(packed))

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of one micro-batch's share of the loss, which is divided by a denominator over all ranks."""
        self._deepspeed.backward(loss * self.world_size, scale_wrt_gas=False)  # DeepSpeed averages over ranks

    def update(self) -> dict[str, float]:
        """Clip, step the optimizer and forget the gradients; return `grad_norm` before clipping and `learning_rate`.

        Raises:
            AdfmError: a gradient is infinite or not a number. The weights are then still those of the step before.
        """
        step = self.step + 1
        factor = self.schedule.factor(step, self.total_steps)
        for group, learning_rate in zip(self._deepspeed.optimizer.param_groups, self.learning_rates, strict=True):
            group["lr"] = learning_rate * factor
        self._deepspeed.step()
        grad_norm = float(self._deepspeed.get_global_grad_norm() if self._own_norm is None else self._own_norm)
        _check_finite(grad_norm, step)
        if self._mean is not None:
            self._mean.add(step)
        return {"grad_norm": grad_norm, "learning_rate": self.learning_rates[0] * factor}

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Make the weights whole on every rank and the model ready to generate, be evaluated and be saved.

        Inside, no gradients are recorded and every module is in eval mode, so that gradient checkpointing is off and
        key and value caches work. Ranks need not run equally many forwards. It may be nested; `update`, `save` and
        `load` belong outside. Changes of the weights are lost under ZeRO-3.
        """
        if self._is_gathered:
            yield
            return
        training = [module for module in self._root.modules() if module.training]
        self._is_gathered = True
        self._root.eval()
        try:
            with torch.no_grad(), zero.whole_weights(self._deepspeed) if self.stage == 3 else nullcontext():
                yield
        finally:
            self._is_gathered = False
            for module in training:
                module.training = True

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Do as `gathered`, with the mean of the weights over the run so far where the engine keeps one.

        This is the model that is looked at and exported. It cannot be entered inside `gathered`.
        """
        if self._mean is not None and self._is_gathered:
            raise RuntimeError("averaged() inside gathered(): the newest weights are in use")
        with nullcontext() if self._mean is None else self._mean.in_place(), self.gathered():
            yield

    def save(self, folder: Path, state: Mapping[str, Any], *, keep: int = 1) -> Path:
        """Write weights, optimizer, random generators and each rank's `state` so that no crash can leave half of it.

        Call it on all ranks, between updates. Frozen parameters are left out: a run that resumes has them already.

        Args:
            folder: holds the run's checkpoints; all ranks must see the same one.
            state: whatever else this rank needs to go on; anything that pickles.
            keep: how many checkpoints stay, the newest ones.

        Returns:
            The folder of the new checkpoint.
        """
        written = self.from_rank_0(checkpoint.begin(folder, self.step) if self.rank == 0 else "")
        self._deepspeed.save_checkpoint(str(folder), tag=written, save_latest=False, exclude_frozen_parameters=True)
        mine = {"state": dict(state), "random": checkpoint.random_state(self.device)}
        torch.save(mine, folder / written / f"rank-{self.rank}.pt")
        if self._mean is not None and self._mean_rank == self.rank:
            torch.save(self._mean.means, folder / written / f"mean-{self.rank}.pt")
        if self.rank == 0:
            (folder / written / IDENTITY).write_text(json.dumps(self._identity(), indent=1))
        self.barrier()
        return folder / self.from_rank_0(checkpoint.commit(folder, written, keep).name if self.rank == 0 else "")

    def load(self, folder: Path) -> dict[str, Any] | None:
        """Go on from the newest checkpoint in `folder`: return this rank's `state`, or None if there is no checkpoint.

        Call it once, before the first update, on all ranks. The next update is then bit for bit the one that an
        uninterrupted run would have made.

        Raises:
            ConfigError: the checkpoint is of another number of ranks, ZeRO stage, dtype or set of trained parameters.
        """
        newest = self.from_rank_0(checkpoint.latest(folder) if self.rank == 0 else None)
        if newest is None:
            return None
        self._check_identity(newest)
        mine = torch.load(newest / f"rank-{self.rank}.pt", map_location="cpu", weights_only=False)
        self._deepspeed.load_checkpoint(str(folder), tag=newest.name, load_module_strict=False)
        if self._mean is not None:
            self._mean.restore(torch.load(newest / f"mean-{self._mean_rank}.pt", map_location="cpu", weights_only=True))
        checkpoint.restore_random_state(mine["random"], self.device)
        return mine["state"]

    def close(self) -> None:
        """Let go of DeepSpeed and leave the other ranks; call it last, on all ranks."""
        self._deepspeed.destroy()
        super().close()

    def _clip(self, trained: list[nn.Parameter]) -> None:
        """Clip as DeepSpeed's wrappers do at the other stages: after gradients are exchanged, before the step."""
        norm = nn.utils.get_total_norm([parameter.grad for parameter in trained if parameter.grad is not None])
        _check_finite(float(norm), self.step + 1)
        if self.max_grad_norm > 0:
            nn.utils.clip_grads_with_norm_(trained, self.max_grad_norm, norm)
        self._own_norm = norm

    @property
    def _mean_rank(self) -> int:
        """The rank that writes the mean this one reads: its own under ZeRO-3, for it is a shard, else the first."""
        return self.rank if self.stage == 3 else 0

    def _identity(self) -> dict[str, Any]:
        """Say what must be the same for a checkpoint to fit."""
        return {
            "number of ranks (engine.nproc x engine.nnodes)": self.world_size,
            "ZeRO stage (engine)": self.stage,
            "model.dtype": str(self.dtype).removeprefix("torch."),
            "set of trained parameters (model)": [
                name for name, parameter in self._root.named_parameters() if parameter.requires_grad
            ],
        }

    def _check_identity(self, newest: Path) -> None:
        """Refuse a checkpoint that does not fit, naming what differs."""
        saved = json.loads((newest / IDENTITY).read_text())
        for name, here in self._identity().items():
            if saved[name] != here:
                told = "" if isinstance(here, list) else f" ({saved[name]} there, {here} here)"
                raise ConfigError(
                    f"{newest} was written with another {name}{told}; use the same, or start again with fresh=true"
                )


def _check_finite(grad_norm: float, step: int) -> None:
    """Refuse a gradient that would spoil the weights."""
    if not math.isfinite(grad_norm):
        raise AdfmError(
            f"the gradient of step {step} is infinite or not a number, so the step was not made; lower "
            "model.learning_rate, or look for the sample that causes it in the last completions"
        )
