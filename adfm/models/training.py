"""Which weights of a model train: freeze rules, LoRA, and gradient checkpointing where it pays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from adfm.errors import ConfigError
from adfm.models.checkpoint import ADAPTER, Source

LANGUAGE_MODEL = "model.language_model"


EVERYTHING = SimpleNamespace(vision=True, merger=True, language=True)
"""The freeze rules of a model that does not train."""

START = "start"
"""Name of the unchanged copy of a saved adapter that is trained on."""


def freeze(base: Any, rules: Any) -> None:
    """Apply `adfm.config.schema.FreezeConfig`; the head counts as language model, deepstack mergers as merger."""
    visual = base.model.visual
    base.requires_grad_(not rules.language)
    visual.requires_grad_(not rules.vision)
    for part in (visual.merger, *getattr(visual, "deepstack_merger_list", ())):
        part.requires_grad_(not rules.merger)


def policy(base: Any, source: Source, config: Any) -> Any:
    """Make a model with frozen parts trainable as `adfm.config.schema.ModelConfig` says, in training mode.

    Raises:
        ConfigError: if adapters are to train together with tower or merger, or do not fit the saved ones.
    """
    lora = config.lora
    if lora is not None and not (config.freeze.vision and config.freeze.merger):
        raise ConfigError(
            "model.lora trains the language model alone: set model.freeze.vision=true model.freeze.merger=true"
        )
    if lora is None and source.is_adapter:
        raise ConfigError(
            f"model.path: {source.path} is a LoRA adapter: set model.lora to go on training it, or export it merged"
        )
    if lora is None:
        model = base
    elif source.is_adapter:
        model = continue_lora(base, source.path, rank=lora.rank)
    else:
        model = add_lora(base, rank=lora.rank, alpha=lora.alpha, dropout=lora.dropout, targets=list(lora.targets))
    if config.gradient_checkpointing:
        checkpoint_language_layers(base)
    return model.train()


def as_saved(base: Any, source: Source) -> Any:
    """Return the model as it was saved, with its adapter if it has one, in eval mode."""
    if source.is_adapter:
        base = PeftModel.from_pretrained(base, source.path, autocast_adapter_dtype=False)
    return base.eval()


def add_lora(base: Any, *, rank: int, alpha: int, dropout: float, targets: list[str]) -> PeftModel:
    """Add fresh adapters, in the dtype of the weights, to linear layers of the language model and to nothing else.

    The tower has layers of the same names. So the targets are one pattern over whole names, which stays right when
    another program loads the adapter onto a model whose tower is in place.

    Raises:
        ConfigError: if a target names no linear layer of the language model.
    """
    layers = {
        name.rpartition(".")[2]
        for name, module in base.named_modules()
        if name.startswith(f"{LANGUAGE_MODEL}.") and isinstance(module, nn.Linear)
    }
    if unknown := sorted(set(targets) - layers):
        raise ConfigError(
            f"model.lora.targets: the language model has no linear layer {', '.join(unknown)}; "
            f"it has {', '.join(sorted(layers))}"
        )
    pattern = f"{re.escape(LANGUAGE_MODEL)}\\..*\\.({'|'.join(map(re.escape, targets))})"
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=pattern, bias="none")
    return get_peft_model(base, config, autocast_adapter_dtype=False)  # pyright: ignore[reportReturnType]


def continue_lora(base: Any, adapter: str, *, rank: int) -> PeftModel:
    """Put a saved adapter on its base model twice: to train on, and as it is.

    Raises:
        ConfigError: if the saved adapter has another rank.
    """
    model = PeftModel.from_pretrained(base, adapter, is_trainable=True, autocast_adapter_dtype=False)
    if (saved := model.peft_config[ADAPTER].r) != rank:  # pyright: ignore[reportAttributeAccessIssue]
        raise ConfigError(f"model.path: {adapter} is a LoRA adapter of rank {saved}; set model.lora.rank={saved}")
    model.load_adapter(adapter, START, is_trainable=False, autocast_adapter_dtype=False)
    return model


@contextmanager
def starting_adapter(model: PeftModel) -> Iterator[None]:
    """Switch to the adapter that training started from; for fresh adapters that is none."""
    if START not in model.peft_config:
        with model.disable_adapter():
            yield
        return
    model.base_model.set_adapter(START, inference_mode=True)  # pyright: ignore[reportCallIssue]
    try:
        yield
    finally:
        model.base_model.set_adapter(ADAPTER)  # pyright: ignore[reportCallIssue]


def checkpoint_language_layers(base: Any) -> None:
    """Recompute the language layers in the backward pass. The tower is left alone: frozen, it has no backward."""
    base.model.language_model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
