"""DeepSpeed from the inside: its settings, its start without a compiler, and whole weights under ZeRO-3."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from adfm.errors import ConfigError

BUCKET = 50_000_000
"""Numbers that are exchanged between ranks at once, unless a single weight is larger."""
ELSEWHERE = {"optimizer": "optimizer", "scheduler": "optimizer.schedule", "train_batch_size": "prompts_per_step"}
"""Settings of DeepSpeed that have another place in the config."""


def complete(
    settings: Mapping[str, Any], trained: Sequence[nn.Parameter], dtype: torch.dtype, max_grad_norm: float
) -> dict[str, Any]:
    """Complete the settings for DeepSpeed with what the program decides.

    Raises:
        ConfigError: a setting contradicts the program or could have no effect.
    """
    if dtype not in (torch.float32, torch.bfloat16):
        raise ConfigError(f"model.dtype: {dtype} cannot be trained; use float32 or bfloat16")
    decided = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": max_grad_norm,
        "bf16": {"enabled": dtype == torch.bfloat16},
        "fp16": {"enabled": False},
    }
    for name in settings:
        if name in decided or name in ELSEWHERE:
            raise ConfigError(
                f"engine.deepspeed.{name} follows from {ELSEWHERE.get(name, 'other settings')}; leave it out"
            )
    config: dict[str, Any] = {"zero_allow_untested_optimizer": True, "zero_force_ds_cpu_optimizer": False}
    config.update(copy.deepcopy(dict(settings)))
    zero: dict[str, Any] = config.setdefault("zero_optimization", {})
    stage = zero.setdefault("stage", 0)
    if stage == 0:
        if (zero.get("offload_optimizer") or {}).get("device", "none") != "none":
            raise ConfigError("engine: ZeRO stage 0 cannot offload; use engine=zero2_offload or model.offload=false")
        return config | decided | {"gradient_clipping": 0.0 if dtype == torch.float32 else max_grad_norm}
    sizes = [parameter.numel() for parameter in trained]
    bucket = max(min(sum(sizes), BUCKET), *sizes)
    zero.setdefault("reduce_bucket_size", bucket)
    zero.setdefault("stage3_prefetch_bucket_size" if stage == 3 else "allgather_bucket_size", bucket)
    config.setdefault("data_types", {"grad_accum_dtype": "fp32"})
    return config | decided


def initialize(root: nn.Module, optimizer: torch.optim.Optimizer, config: dict[str, Any], device: torch.device) -> Any:
    """Start DeepSpeed without a compiler, without a word, and without a trace of it in the weights.

    On the CPU its one compiled operation is marked as not to be had. Some of its optimizer wrappers make a step on zero
    gradients while they are built; that step is made at learning rate 0 and its moments are forgotten.
    """
    logging.disable(logging.INFO)  # while it looks what could be compiled, the compiler's commands would be logged
    import deepspeed

    if device.type == "cpu":
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    logging.disable(logging.NOTSET)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    warnings.filterwarnings(
        "ignore", category=FutureWarning, module=r"torch\.distributed"
    )  # calls that DeepSpeed makes
    with contextlib.redirect_stdout(io.StringIO()):  # its reports of memory use
        engine, *_ = deepspeed.initialize(model=root, optimizer=optimizer, config=config)
    optimizer.state.clear()
    return engine


@contextlib.contextmanager
def whole_weights(engine: Any) -> Iterator[None]:
    """Gather the weights of a ZeRO-3 engine once, and take off the hooks that gather and release for every layer."""
    from deepspeed.runtime.zero import GatheredParameters, parameter_offload

    offload = engine.optimizer.parameter_offload
    stack = len(parameter_offload.FWD_MODULE_STACK)
    with GatheredParameters(list(engine.module.parameters())):
        offload._remove_module_hooks()
        offload.forward_hooks.clear()
        offload.backward_hooks.clear()
        try:
            yield
        finally:
            offload.setup_zero_stage3_hooks()  # also forgets the recorded order of layers
            del parameter_offload.FWD_MODULE_STACK[stack:]


def held(parameter: nn.Parameter) -> torch.Tensor:
    """Return what this rank holds of a parameter between steps: its shard under ZeRO-3, else all of it."""
    return getattr(parameter, "ds_tensor", parameter.data)


def release(parameters: Sequence[nn.Parameter]) -> None:
    """Let go of what ZeRO-3 keeps whole beside the shards (small parameters), so that it is gathered anew."""
    from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus

    for parameter in parameters:
        if getattr(parameter, "ds_status", None) == ZeroParamStatus.AVAILABLE:
            parameter.partition()  # type: ignore[operator]  # DeepSpeed gives its parameters this method


class TensorsOnly(nn.Module):
    """Hands a scorer's tensors to DeepSpeed as a tuple: it does not follow gradients through a dataclass."""

    def __init__(self, scorer: nn.Module) -> None:
        super().__init__()
        self.scorer = scorer
        self.output_type: Callable[..., Any] | None = None

    def forward(self, packed: Any) -> Any:
        """Run the scorer and take its dataclass apart."""
        output = self.scorer.forward(packed)  # not a call: hooks on the scorer itself would see the dataclass
        if not dataclasses.is_dataclass(output) or isinstance(output, type):
            return output
        self.output_type = type(output)
        return tuple(getattr(output, field.name) for field in dataclasses.fields(output))

    def rebuild(self, output: Any) -> Any:
        """Turn the tuple back into the scorer's dataclass."""
        return output if self.output_type is None else self.output_type(*output)
