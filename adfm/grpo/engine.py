"""A model in training on DeepSpeed: sharded or not, on CPU or GPU, with any number of micro-batches per update.

The caller divides its losses by a denominator over all ranks and calls `backward` once per micro-batch; the gradient of
an update is then the plain sum over micro-batches and ranks, at every ZeRO stage. ZeRO-2 exchanges gradients within
each backward and ZeRO-3 weights within each forward, so all ranks must run equally many: a rank with less to do repeats
a micro-batch with its loss multiplied by 0.

DeepSpeed is imported when the first engine is made, never with this module: it is slow to load and disturbs others.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
import json
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adfm.errors import AdfmError, ConfigError
from adfm.grpo import checkpoint
from adfm.grpo.distributed import Ranks
from adfm.grpo.schedule import Schedule

IDENTITY = "identity.json"
BUCKET = 50_000_000
"""Numbers that are exchanged between ranks at once, unless a single weight is larger."""


class Engine(Ranks):
    """The scorer's trainable parameters, their optimizer and their schedule.

    Args:
        scorer: a module whose forward returns a tensor, a tuple of tensors or a dataclass of tensors. It is moved to
            the device and converted to `dtype`. Only parameters that require gradients are trained.
        optimizer: makes the torch optimizer from a list of parameters, for example `partial(AdamW, lr=1e-5)`.
        schedule: factor of each parameter group's learning rate for each update.
        max_grad_norm: gradients with a larger norm are scaled down to it; 0 leaves them as they are.
        deepspeed: settings for DeepSpeed, of which `zero_optimization.stage` decides what is sharded.
        dtype: float32, or bfloat16 with float32 master weights. Micro-batches are added up in float32, except that
            stage 0 in bfloat16 adds them in bfloat16 (DeepSpeed has nothing else there).
        total_steps: updates of the whole run, for the schedule.
        device: see `Ranks`.
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
        device: str | torch.device | None = None,
    ) -> None:
        super().__init__(device)
        trained = [parameter for parameter in scorer.parameters() if parameter.requires_grad]
        if not trained:
            raise ConfigError("model: no parameter is trainable; set model.freeze.language=false or give model.lora")
        config = _deepspeed_config(deepspeed, trained, dtype, max_grad_norm)
        self.stage: int = config["zero_optimization"]["stage"]
        self.dtype = dtype
        self.schedule = schedule
        self.max_grad_norm = max_grad_norm
        self.total_steps = total_steps
        torch_optimizer = optimizer(trained)
        self.learning_rates: list[float] = [group["lr"] for group in torch_optimizer.param_groups]
        for group in torch_optimizer.param_groups:  # some wrappers step once on zero gradients while they are built
            group["lr"] = 0.0
        self._root = _Root(scorer)
        self._norm_before_step: Tensor | None = None
        self._is_whole = False
        if self.stage == 0 and dtype == torch.float32:  # where DeepSpeed clips but does not tell the norm
            torch_optimizer.register_step_pre_hook(lambda *_: self._clip(trained))
        self._deepspeed = _initialize(self._root, torch_optimizer, config, self.device)
        if self.stage == 0:
            torch_optimizer.state.clear()

    @property
    def step(self) -> int:
        """The number of updates made so far, those before a resume included."""
        return self._deepspeed.global_steps

    def __call__(self, packed: Any) -> Any:
        """Run the scorer on one micro-batch; under ZeRO-3 all ranks must do so together."""
        return self._root.rebuild(self._deepspeed(packed))

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of one micro-batch's share of the loss, which is divided by a denominator over all ranks."""
        self._deepspeed.backward(loss * self.world_size, scale_wrt_gas=False)

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
        norm = self._norm_before_step if self._norm_before_step is not None else self._deepspeed.get_global_grad_norm()
        grad_norm = math.nan if norm is None else float(norm)
        if not math.isfinite(grad_norm):
            raise _diverged(step)
        return {"grad_norm": grad_norm, "learning_rate": self.learning_rates[0] * factor}

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Make the weights whole on every rank and the model ready to generate, be evaluated and be saved.

        Inside, no gradients are recorded and every module is in eval mode, so that gradient checkpointing is off and
        key and value caches work. Ranks need not run equally many forwards. It may be nested; `update`, `save` and
        `load` belong outside. Changes of the weights are lost under ZeRO-3.
        """
        training = [module for module in self._root.modules() if module.training]
        self._root.eval()
        try:
            with torch.no_grad(), self._whole_weights():
                yield
        finally:
            for module in training:
                module.training = True

    def save(self, folder: Path, state: Mapping[str, Any], *, keep: int = 1) -> Path:
        """Write weights, optimizer, random generators and each rank's `state` so that no crash can leave half of it.

        Call it on all ranks, between updates. Frozen parameters are left out: resuming starts from the same checkpoint.

        Args:
            folder: holds the run's checkpoints; all ranks must see the same one.
            state: whatever else this rank needs to go on; anything that pickles.
            keep: how many checkpoints stay, the newest ones.
        """
        written = self.from_rank_0(checkpoint.begin(folder, self.step) if self.rank == 0 else "")
        self._deepspeed.save_checkpoint(str(folder), tag=written, save_latest=False, exclude_frozen_parameters=True)
        mine = {"state": dict(state), "random": checkpoint.random_state(self.device)}
        torch.save(mine, folder / written / f"rank-{self.rank}.pt")
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
        checkpoint.restore_random_state(mine["random"], self.device)
        return mine["state"]

    def close(self) -> None:
        """Let go of DeepSpeed and leave the other ranks; call it last, on all ranks."""
        self._deepspeed.destroy()
        super().close()

    def _clip(self, trained: list[nn.Parameter]) -> None:
        """Clip as the wrappers of the other stages do; runs between the exchange of gradients and the step."""
        gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if not torch.isfinite(norm):
            raise _diverged(self.step + 1)
        if self.max_grad_norm > 0:
            nn.utils.clip_grads_with_norm_(trained, self.max_grad_norm, norm)
        self._norm_before_step = norm

    @contextmanager
    def _whole_weights(self) -> Iterator[None]:
        """Under ZeRO-3, gather once and take DeepSpeed's hooks off, which would gather and release for every layer."""
        if self.stage < 3 or self._is_whole:
            yield
            return
        from deepspeed.runtime.zero import GatheredParameters, parameter_offload

        offload = self._deepspeed.optimizer.parameter_offload
        stack = len(parameter_offload.FWD_MODULE_STACK)
        with GatheredParameters(list(self._root.parameters())):
            offload._remove_module_hooks()
            offload.forward_hooks.clear()
            offload.backward_hooks.clear()
            self._is_whole = True
            try:
                yield
            finally:
                self._is_whole = False
                offload.setup_zero_stage3_hooks()  # also forgets the recorded order of layers
                del parameter_offload.FWD_MODULE_STACK[stack:]

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to fit."""
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


class _Root(nn.Module):
    """Hands the scorer's tensors to DeepSpeed as a tuple, the only shape in which it follows gradients."""

    def __init__(self, scorer: nn.Module) -> None:
        super().__init__()
        self.scorer = scorer
        self.output_type: Callable[..., Any] | None = None

    def forward(self, packed: Any) -> Any:
        output = self.scorer.forward(packed)  # not a call: hooks on the scorer itself would see the dataclass
        if not dataclasses.is_dataclass(output) or isinstance(output, type):
            return output
        self.output_type = type(output)
        return tuple(getattr(output, field.name) for field in dataclasses.fields(output))

    def rebuild(self, output: Any) -> Any:
        """Turn the tuple back into the scorer's dataclass."""
        return output if self.output_type is None else self.output_type(*output)


def _initialize(root: nn.Module, optimizer: torch.optim.Optimizer, config: dict[str, Any], device: torch.device) -> Any:
    """Start DeepSpeed without a compiler: on the CPU its one compiled operation is marked as not to be had."""
    os.environ.setdefault("DS_ACCELERATOR", device.type)
    import deepspeed

    if device.type == "cpu":
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    warnings.filterwarnings(
        "ignore", category=FutureWarning, module=r"torch\.distributed"
    )  # of calls that DeepSpeed makes
    with contextlib.redirect_stdout(io.StringIO()):  # its reports of memory use
        engine, *_ = deepspeed.initialize(model=root, optimizer=optimizer, config=config)
    return engine


def _deepspeed_config(
    settings: Mapping[str, Any], trained: list[nn.Parameter], dtype: torch.dtype, max_grad_norm: float
) -> dict[str, Any]:
    """Complete the user's settings with what the program decides, and refuse settings that contradict it."""
    if dtype not in (torch.float32, torch.bfloat16):
        raise ConfigError(f"model.dtype: {dtype} cannot be trained; use float32 or bfloat16")
    decided = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": max_grad_norm,
        "bf16": {"enabled": dtype == torch.bfloat16},
    }
    if clash := sorted(decided.keys() & settings.keys()):
        raise ConfigError(f"engine.deepspeed.{clash[0]} follows from other settings (model, optimizer); leave it out")
    config = {"zero_allow_untested_optimizer": True, "zero_force_ds_cpu_optimizer": False} | copy.deepcopy(
        dict(settings)
    )
    zero = config.setdefault("zero_optimization", {})
    stage = zero.setdefault("stage", 0)
    if stage == 0:
        return config | decided | {"gradient_clipping": 0.0 if dtype == torch.float32 else max_grad_norm}
    sizes = [parameter.numel() for parameter in trained]
    bucket = max(min(sum(sizes), BUCKET), *sizes)
    zero.setdefault("reduce_bucket_size", bucket)
    if stage == 3:
        zero.setdefault("stage3_prefetch_bucket_size", bucket)
    else:
        zero.setdefault("allgather_bucket_size", bucket)
    config.setdefault("data_types", {"grad_accum_dtype": "fp32"})
    return config | decided


def _diverged(step: int) -> AdfmError:
    return AdfmError(
        f"the gradient of step {step} is infinite or not a number, so the step was not made; lower "
        "model.learning_rate, or look for the sample that causes it in the last completions"
    )
