"""What `--help` prints: taken from the first lines of the primary config, the config groups and the schema's docs."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, fields, is_dataclass
from typing import Any

import yaml
from hydra.core.global_hydra import GlobalHydra
from omegaconf import MISSING

from adfm.config.command_schemas import COMMANDS
from adfm.config.compose import conf_folder

WIDTH = 110
COLUMN = 30
"""Where the meaning of a key begins."""
KINDS = {"str": "TEXT", "int": "NUMBER", "float": "NUMBER", "dict": "{name: value}", "Any": "{key: value}"}
"""What stands for the value of a key without a default, by its type."""


def command_help(command: str) -> str:
    """Return the help of a command, for Hydra's `hydra.help.template`; Hydra must be composing it."""
    return "\n".join(_sections(command)).replace("$", "$$")


def _sections(command: str) -> Iterator[str]:
    file = conf_folder() / f"{command}.yaml"
    lines = file.read_text(encoding="utf-8").splitlines()
    opening = [line for line in lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]]
    what, _, usage = opening[0].removeprefix("# ").partition(": ")
    yield from (f"{what}:", f"  {usage}", *(line.removeprefix("# ") for line in opening[1:]), "")
    chosen = _defaults(yaml.safe_load("\n".join(lines))["defaults"])
    groups = {group: options for group, options in _groups() if group.partition("/")[0] in chosen}
    if groups:
        yield "Groups, as in GROUP=OPTION; * is taken unless you choose:"
        for group, options in groups.items():
            shown = [f"{option}*" if option == chosen.get(group) else option for option in options]
            yield _row(group, ", ".join(shown))
        yield ""
    yield "Keys, as in KEY=VALUE; here with their default, or with what they take:"
    yield from (_row(f"{key}={value}", meaning) for key, value, meaning in keys(COMMANDS[command], set(groups)))
    yield ""
    yield from _rest(file.name, COMMANDS[command].__module__)


def _rest(file: str, schema: str) -> Iterator[str]:
    yield "The rest:"
    yield _row("keys of a group", f"{conf_folder()}/GROUP/OPTION.yaml; each opens with what it is")
    yield _row("keys of the command", f"{conf_folder()}/{file}, with types and ranges in {schema}")
    yield _row("--cfg job [--resolve]", "print every key with its value, and stop")
    yield _row("-m KEY=A,B", "once for each value")
    yield _row("-cd FOLDER", "your own options, in FOLDER/GROUP/OPTION.yaml")
    yield _row("KEY='\"a value\"'", "a value with spaces at its ends, commas or other signs: quotes inside quotes")
    yield _row("--hydra-help", "the flags of Hydra itself")


def _row(name: str, text: str) -> str:
    body = textwrap.wrap(text, WIDTH - COLUMN, break_on_hyphens=False) or [""]
    head = f"  {name}"
    first = [head] if len(head) >= COLUMN else [head.ljust(COLUMN) + body.pop(0)]
    return "\n".join(line.rstrip() for line in (*first, *(" " * COLUMN + line for line in body)))


def _defaults(entries: list[Any]) -> dict[str, str | None]:
    """Return the groups of a defaults list with the options that are taken."""
    return {group: option for entry in entries if isinstance(entry, dict) for group, option in entry.items()}


def _groups(parent: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield all groups that are composed from, those of the user too, with the options that can be chosen."""
    loader = GlobalHydra.instance().config_loader()
    for name in sorted(loader.list_groups(parent)):
        group = f"{parent}/{name}" if parent else name
        options = [option for option in loader.get_group_options(group) if not option.startswith("_")]
        if group != "hydra":
            yield from [(group, sorted(options))] if options else []
            yield from _groups(group)


def keys(schema: type, groups: set[str], path: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield the keys of a schema, nested ones too, without those that are groups: path, default, meaning."""
    docs = _docs(schema)
    for field in fields(schema):
        kind = _nested(field)
        if not path and field.name in groups:
            continue
        if kind is not None:
            yield from keys(kind, groups, f"{path}{field.name}.")
        else:
            yield f"{path}{field.name}", _example(field), re.sub(r"\bNone\b", "null", docs.get(field.name, ""))


def _nested(field: Field[Any]) -> type | None:
    factory = field.default_factory
    return factory if isinstance(factory, type) and is_dataclass(factory) else None


def _example(field: Field[Any]) -> str:
    """Return the default as a command line has it, or what kind of value it takes where there is none."""
    value = field.default_factory() if field.default_factory is not NO_DEFAULT else field.default
    if value in (None, MISSING, NO_DEFAULT, {}):
        return next((word for kind, word in KINDS.items() if str(field.type).startswith(kind)), "VALUE")
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)


def _docs(schema: type) -> dict[str, str]:
    """Return what the source of a dataclass says below each field, in one line."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(schema))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for before, after in zip(definition.body, definition.body[1:], strict=False):
        if not isinstance(before, ast.AnnAssign) or not isinstance(before.target, ast.Name):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[before.target.id] = " ".join(str(after.value.value).split())
    return found
