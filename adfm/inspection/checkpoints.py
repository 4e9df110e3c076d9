"""With which settings a checkpoint is asked: those of its card, where a command line or a caller sets no others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from adfm.config.compose import compose
from adfm.config.run_folder import RunFolder, newest
from adfm.errors import ConfigError
from adfm.models import tiny
from adfm.models.card import Card, read_card

NEWEST = "newest"
"""What `run=` takes for the newest run of `runs`."""
LIMITS = ("min_pixels", "max_pixels")


def settings_of(config: DictConfig, chosen: Collection[str] | None = None) -> tuple[DictConfig, DictConfig, list[str]]:
    """Return the `model` node, the `reasoning` node and the defect types with which a command asks its checkpoint.

    The checkpoint is `model.path`, or the export of `run`. Its card (`adfm.json`) says the nodes; of a run
    that is older than cards, its `config.yaml`. A group or key that the command line sets counts all the same.

    Args:
        config: Has `model`, `reasoning`, `defect_types`, `run`, `runs` and `which`.
        chosen: Groups and keys that were set by hand; by default those of the command line.

    Raises:
        ConfigError: `run` and `model.path` are both set, or there is no such run or export.
    """
    chosen = chosen_keys() if chosen is None else chosen
    card, path = _card(config, chosen)
    nodes = [_node(config, group, card, chosen) for group in ("model", "reasoning")]
    if path is not None:
        OmegaConf.update(nodes[0], "path", path)
        OmegaConf.update(nodes[0], "revision", None)
    types = config.defect_types
    return nodes[0], nodes[1], list(card.defect_types if types is None and card is not None else types or ())


def chosen_keys() -> list[str]:
    """Return the groups and keys that the command line of this process sets, in its order."""
    if not HydraConfig.initialized():
        return []
    overrides = OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))
    return [override.key_or_group for override in overrides]


def _card(config: DictConfig, chosen: Collection[str]) -> tuple[Card | None, str | None]:
    """Find the card, and the checkpoint's path if a run gives it."""
    if config.run is None:
        return read_card(folder_of(config.model.path)), None
    if "model.path" in chosen:
        raise ConfigError("run and model.path are both set: give one of them")
    run = newest(Path(config.runs)) if config.run == NEWEST else RunFolder(Path(config.run))
    own = run.config
    exported = run.path / "export" / config.which
    if not exported.is_dir():
        raise ConfigError(f"{run.path} has no export/{config.which} yet; let the run go on, or use model.path=<folder>")
    return read_card(exported) or Card.of(plain(own.model), plain(own.reasoning), ()), str(exported)


def _node(config: DictConfig, group: str, card: Card | None, chosen: Collection[str]) -> DictConfig:
    if card is None or group in chosen:
        return config[group]
    node = OmegaConf.create(card.model_node(config.model.path) if group == "model" else dict(card.reasoning))
    for key in chosen:
        if key.startswith(f"{group}."):
            OmegaConf.update(node, key.removeprefix(f"{group}."), OmegaConf.select(config, key), force_add=True)
            if key.removeprefix("model.") in LIMITS:  # a card's numbers are resolved, so its frame has a copy of them
                OmegaConf.update(node, f"frames.{key.removeprefix('model.')}", OmegaConf.select(config, key))
    return node


def nodes_of(
    model: str | Path | DictConfig, reasoning: str | DictConfig | None, types: Sequence[str] | None
) -> tuple[DictConfig, DictConfig, Sequence[str]]:
    """Return what `settings_of` does, for what an `Inspector` takes; a node that is given counts as it is.

    Raises:
        ConfigError: there is no such template.
    """
    config = compose("predict", [f"reasoning={reasoning}"] if isinstance(reasoning, str) else [])
    if not isinstance(model, DictConfig):
        config.model.path = str(model)
    config.defect_types = None if types is None else list(types)
    node, template, known = settings_of(config, ["reasoning"] if isinstance(reasoning, str) else [])
    return (
        OmegaConf.create(plain(model if isinstance(model, DictConfig) else node)),  # it leaves what it refers to
        reasoning if isinstance(reasoning, DictConfig) else template,
        known,
    )


def plain(node: DictConfig) -> dict[str, Any]:
    """Return a config node resolved, as plain values."""
    return OmegaConf.to_container(node, resolve=True)  # type: ignore[return-value]  # a mapping, as the node is one


def folder_of(path: str) -> Path:
    """Return the folder of `model.path`; of a hub id one that is not there."""
    return tiny.folder() if path == "tiny" else Path(path)
