"""From a command line to a checked config, and from a config node to an object.

`build` is the only place that instantiates, `compose` the only one that composes outside a command, `check` lists
everything that is wrong at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException
from yaml import MarkedYAMLError

import adfm
from adfm.config.command_schemas import COMMANDS
from adfm.config.overrides import quoted, refusal
from adfm.config.rules import reading_problems, rule_problems
from adfm.config.schema import RangeError, TrainConfig
from adfm.config.signatures import did_you_mean, signature_problems
from adfm.errors import AdfmError, ConfigError
from adfm.types import Template

PACKAGE = Path(adfm.__file__).parent

COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, AttributeError, AssertionError, MarkedYAMLError)
"""What Hydra raises for overrides that it cannot apply and files that it cannot read."""

for _command, _schema in COMMANDS.items():
    ConfigStore.instance().store(name=f"{_command}_schema", node=_schema)
OmegaConf.register_new_resolver("offload_device", lambda offload: "cpu" if offload else "none", replace=True)


def conf_folder() -> Path:
    """Return the folder of the shipped config groups: inside an installed package, beside it in a checkout."""
    installed, checkout = PACKAGE / "conf", PACKAGE.parent / "conf"
    return installed if installed.is_dir() else checkout


def compose(config_name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Compose one of the primary configs as its command would; raises ConfigError where the command would stop.

    Inside a command it also finds what the user added with `-cd`.
    """
    inside = GlobalHydra.instance().is_initialized()
    with nullcontext() if inside else hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        try:
            return hydra.compose(config_name, [quoted(override) for override in overrides])
        except COMPOSITION_ERRORS as error:
            raise ConfigError(explain(error)) from error


def explain(error: Exception) -> str:
    """Say what Hydra or OmegaConf found wrong, in one message, and what was probably meant."""
    cause = error.__cause__ or error
    if isinstance(error, OverrideParseException):
        return refusal(error)
    if isinstance(error, MissingConfigException) and error.options is not None and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return _unknown("option", f"{group}={option}", error.options)
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and cause.full_key and cause.parent_node is not None:
        return _unknown("key", str(cause.full_key), cause.parent_node)
    if isinstance(cause, MissingMandatoryValue):
        return f"{cause.full_key}: has no value; set it with {cause.full_key}=..."
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        return f"{cause.full_key}: {str(cause).splitlines()[0]}"
    if isinstance(error, AttributeError | AssertionError) and "NoneType" in str(error):
        return "an override sets a key of a node that is null; choose the node first, as in model/lora=all_linear"
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name}, line {mark.line + 1}, column {mark.column + 1}: is not YAML ({error.problem})"
    return str(error).partition("\nSee https://hydra.cc")[0]


def _unknown(what: str, path: str, known: Iterable[str]) -> str:
    known = [str(name) for name in known if name != "hydra"]
    meant = did_you_mean(path.rpartition(".")[2].rpartition("=")[2], known)
    return f"{path}: there is no such {what}" + (meant or f" (there are: {', '.join(known)})")


def options(group: str) -> list[str]:
    """List the shipped options of a config group; a file whose name begins with _ is what options share."""
    return sorted(file.stem for file in (conf_folder() / group).glob("[!_]*.yaml"))


def build(node: Any, **runtime: Any) -> Any:
    """Make the object that a node with a `_target_` describes; `runtime` adds arguments that a config cannot hold.

    Lists and dicts arrive as plain ones. With `_partial_: true` the object is a partial that still takes arguments.
    """
    try:
        return hydra.utils.instantiate(node, _convert_="all", **runtime)
    except InstantiationException as error:  # what a child says to the user is not for Hydra to wrap
        if isinstance(error.__cause__, AdfmError):
            raise error.__cause__ from error
        raise


def check(config: DictConfig) -> None:
    """Raise a ConfigError that lists everything that is wrong with a composed config."""
    found = problems(config)
    if found:
        raise ConfigError("\n".join(found))


def problems(config: DictConfig) -> list[str]:
    """List everything that is wrong with a composed config: keys, ranges, signatures, then what contradicts itself."""
    try:
        plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        return [explain(error)]
    found = [*_typed_problems(config, plain), *signature_problems(plain)]
    if found:
        return found
    if OmegaConf.get_type(config) is TrainConfig:
        found = [*rule_problems(plain), *_term_problems(plain)]
    return found or _construction_problems(config)


def _typed_nodes(node: DictConfig, plain: Any, path: str) -> Iterator[tuple[str, type, dict[str, Any]]]:
    kind = OmegaConf.get_type(node)
    if isinstance(kind, type) and is_dataclass(kind):
        yield path, kind, plain
    for key, value in plain.items():
        child = node._get_node(key)
        if isinstance(value, dict) and isinstance(child, DictConfig):
            yield from _typed_nodes(child, value, f"{path}{key}.")


def _typed_problems(config: DictConfig, plain: dict[str, Any]) -> list[str]:
    found = []
    for path, kind, values in _typed_nodes(config, plain, ""):
        known = [field.name for field in fields(kind)]
        unknown = [key for key in values if key not in known]
        found += [_unknown("key", f"{path}{key}", known) for key in unknown]
        try:  # with the values alone, so that a wrong child does not hide a wrong parent
            getattr(kind, "__post_init__", lambda _: None)(SimpleNamespace(**values))
        except RangeError as error:
            found += [f"{path}{finding}" for finding in error.findings]
    return found


def _term_problems(plain: dict[str, Any]) -> list[str]:
    """Check the entries of `reward.terms`, whose weights belong to no signature."""
    found = []
    for name, entry in plain["reward"].get("terms", {}).items():
        path = f"reward.terms.{name}"
        found += [
            _unknown("key", f"{path}.{key}", ("weight", "term")) for key in entry if key not in ("weight", "term")
        ]
        if "term" not in entry:
            found.append(f"{path}: has no term, so it rewards nothing; drop it with ~{path}")
        weight = entry.get("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            found.append(f"{path}.weight: {weight!r} is not a number")
    return found


def _construction_problems(config: DictConfig) -> list[str]:
    """Build what is cheap to build, so that ranges which only a constructor knows count too."""
    built, found = {}, []
    for path in ("reasoning", "reward", "objective", "optimizer.schedule", "optimizer.average"):
        node = OmegaConf.select(config, path)
        if node is None:
            continue
        try:
            built[path] = build(node)
        except InstantiationException as error:
            if not isinstance(error.__cause__, ValueError | AdfmError):
                raise
            found.append(f"{path}: {str(error.__cause__).removeprefix(f'{path}: ')}")
    if not found and {"reasoning", "reward"} <= set(built):
        found = reading_problems(built["reasoning"], built["reward"], shipped_templates)
    return found


def shipped_templates() -> dict[str, Template]:
    """Build every shipped reasoning template, by its option."""
    return {option: build(compose("train", [f"reasoning={option}"]).reasoning) for option in options("reasoning")}
