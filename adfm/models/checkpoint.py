"""Checkpoint folders in the Hugging Face format: what they hold, how they are loaded and written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer
from transformers.utils.hub import cached_file

from adfm.errors import ConfigError
from adfm.models import tiny

FAMILIES = ("qwen2_5_vl", "qwen3_vl")
ADAPTER = "default"
"""PEFT's name of the adapter that trains or is saved."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a checkpoint comes from: tokenizer and image processor lie in `path`, whole weights in `base`."""

    path: str
    revision: str | None
    base: str
    base_revision: str | None

    @property
    def is_adapter(self) -> bool:
        """Whether `path` is a LoRA adapter for `base`."""
        return self.path != self.base

    @classmethod
    def of(cls, path: str, revision: str | None) -> Source:
        """Resolve `model.path`: `tiny`, a local folder (also of a LoRA adapter) or a hub id."""
        path = str(tiny.folder()) if path == "tiny" else path
        adapter = Path(path) / "adapter_config.json"
        if not adapter.is_file():
            return cls(path, revision, path, revision)
        settings = json.loads(adapter.read_text(encoding="utf-8"))
        return cls(path, revision, settings["base_model_name_or_path"], settings.get("revision"))


def load_base(source: Source, dtype: torch.dtype) -> Any:
    """Load the weights of a Qwen-VL checkpoint, without any adapter.

    Raises:
        ConfigError: if there is no such checkpoint, or it is of another family.
    """
    try:
        config = AutoConfig.from_pretrained(source.base, revision=source.base_revision)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"model.path: {source.base} is neither a checkpoint folder nor a hub model that can be reached ({error})"
        ) from error
    if config.model_type not in FAMILIES:
        raise ConfigError(
            f"model.path: {source.base} is a {config.model_type}; supported families are {', '.join(FAMILIES)}"
        )
    return AutoModelForImageTextToText.from_pretrained(source.base, revision=source.base_revision, dtype=dtype)


def load_tokenizer(source: Source) -> Any:
    """Load the tokenizer, with the chat template of the checkpoint's processor where that lies in a file of its own."""
    tokenizer = AutoTokenizer.from_pretrained(source.path, revision=source.revision)
    template = cached_file(
        source.path, "chat_template.json", revision=source.revision, _raise_exceptions_for_missing_entries=False
    )
    if template is not None:
        tokenizer.chat_template = json.loads(Path(template).read_text(encoding="utf-8"))["chat_template"]
    return tokenizer


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Give an empty folder that takes the place of `folder` when everything in it has been written."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    new, old = (folder.with_name(f".{folder.name}.{kind}") for kind in ("new", "old"))
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    new.mkdir()
    yield new
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def write_weights(folder: Path, base: Any, tower: dict[str, Tensor], dtype: torch.dtype) -> None:
    """Write configuration, generation configuration and weights; adapters are added to the weights they belong to.

    Args:
        folder: Where to write.
        base: The model, with or without injected adapters.
        tower: Weights of a tower that is not in the module tree, by their names in the whole model.
        dtype: Of the weights on disk.
    """
    weights = {**_merged(base), **tower}
    if base.config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    base.save_pretrained(folder, state_dict={name: weight.to(dtype) for name, weight in weights.items()})
    if dtype != base.dtype:
        _declare_dtype(folder / "config.json", dtype)


def write_adapter(folder: Path, model: PeftModel) -> None:
    """Write a LoRA adapter as PEFT does."""
    model.save_pretrained(str(folder), selected_adapters=[ADAPTER], save_embedding_layers=False)


@torch.no_grad()
def _merged(base: Any) -> dict[str, Tensor]:
    """Return the weights of a model with its adapter, if it has one, added in."""
    weights = {
        name.replace(".base_layer.", "."): weight for name, weight in base.state_dict().items() if ".lora_" not in name
    }
    for name, module in base.named_modules():
        if isinstance(module, LoraLinear):
            weights[f"{name}.weight"] = weights[f"{name}.weight"] + module.get_delta_weight(ADAPTER)
    return weights


def _declare_dtype(path: Path, dtype: torch.dtype) -> None:
    """Put the dtype of the weights into a written configuration."""

    def declared(node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        return {key: name if key == "dtype" and value else declared(value) for key, value in node.items()}

    name = str(dtype).removeprefix("torch.")
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(declared(config), indent=2) + "\n", encoding="utf-8")
