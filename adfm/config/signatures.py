"""Whether every `_target_` of a config can be built: all findings at once, before anything is.

Hydra reports a misspelt argument when it builds the node, one at a time and after the model is loaded. Here the whole
tree is compared with the signatures of what it names.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from importlib import import_module
from pkgutil import resolve_name
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

NAMED_TARGETS = ("reward.terms.*.term", "dataset.datasets.*", "logger.*", "callbacks.*")
"""Entries that name what to build; one without `_target_` is what stays behind when its definition was dropped."""

RUNTIME_ARGUMENTS: Mapping[str, frozenset[str]] = {
    "rollout": frozenset({"vlm"}),
}
"""Arguments that the program adds when it builds a node, so that the config need not have them."""

HYDRA_KEYS = frozenset({"_target_", "_partial_", "_recursive_", "_convert_", "_args_"})


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Give `; did you mean 'x'?` for the closest known word, or nothing.

    >>> did_you_mean("wieght", ["weight", "term"])
    "; did you mean 'weight'?"
    >>> did_you_mean("zebra", ["weight", "term"])
    ''
    """
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def signature_problems(config: Mapping[str, Any]) -> list[str]:
    """List what stands in the way of building the nodes of a plain, resolved config; empty when nothing does."""
    return [problem for path, node in _nodes(config, "") for problem in _node_problems(path, node)]


def _nodes(value: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, Mapping):
        yield path, value
        for key, child in value.items():
            yield from _nodes(child, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _nodes(child, f"{path}[{index}]")


def _node_problems(path: str, node: Mapping[str, Any]) -> Iterator[str]:
    if "_target_" not in node:
        if any(_matches(path, pattern) for pattern in NAMED_TARGETS):
            yield f"{path}: has no _target_, so nothing can be built; add {path}._target_=... or drop it with ~{path}"
        return
    target = node["_target_"]
    try:
        callable_ = resolve_name(target)
    except (ImportError, AttributeError, ValueError) as error:
        yield f"{path}._target_: cannot import {target!r}{_near_target(target, error)}"
        return
    yield from _argument_problems(path, node, target, callable_)


def _matches(path: str, pattern: str) -> bool:
    return path.count(".") == pattern.count(".") and fnmatchcase(path, pattern)


def _near_target(target: str, error: Exception) -> str:
    module, _, name = target.rpartition(".")
    try:
        known = dir(import_module(module))
    except (ImportError, ValueError):
        return f" ({error})"
    return did_you_mean(name, (public for public in known if not public.startswith("_")))


def _argument_problems(path: str, node: Mapping[str, Any], target: str, callable_: Callable[..., Any]) -> Iterator[str]:
    parameters = inspect.signature(callable_).parameters
    hints = _hints(callable_)
    given = {key: value for key, value in node.items() if key not in HYDRA_KEYS}
    accepts_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for key, value in given.items():
        if key not in parameters:
            if not accepts_any:
                yield f"{path}.{key}: {target} takes no such argument{did_you_mean(key, parameters)}"
        elif not _fits(value, hints.get(key, Any)):
            yield f"{path}.{key}: {value!r} is not {_say(hints[key])}"
    if node.get("_partial_") or node.get("_args_"):
        return
    runtime = RUNTIME_ARGUMENTS.get(path, frozenset())
    for name, parameter in parameters.items():
        needed = parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        )
        if needed and name not in given and name not in runtime:
            yield f"{path}.{name}: missing (required by {target})"


def _hints(callable_: Callable[..., Any]) -> dict[str, Any]:
    """Types of the arguments; none for what cannot be resolved, such as a compiled function."""
    source: Any = callable_.__init__ if inspect.isclass(callable_) else callable_
    try:
        return get_type_hints(source)
    except (NameError, TypeError):
        return {}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain config value can be what an annotation says; annotations that are not simple accept anything."""
    origin = get_origin(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if inspect.isclass(hint) and isinstance(value, str | int | float | None):
        return issubclass(type(value), hint)
    return True


def _say(hint: Any) -> str:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_say(part) for part in get_args(hint))
    if origin is Literal:
        return "one of " + ", ".join(repr(choice) for choice in get_args(hint))
    names = {types.NoneType: "null", float: "a number", int: "a whole number", str: "a text", bool: "true or false"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))
