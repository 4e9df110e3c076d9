"""Overrides as users type them: what Hydra's grammar has no sign for is quoted for it, or refused with how to quote."""

from __future__ import annotations

import re
from functools import cache

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException

_OVERRIDE = re.compile(r"(?P<key>[+~]{0,2}[\w/@.:-]+)=(?P<value>.+)", re.DOTALL | re.ASCII)
_GRAMMAR = frozenset("'\"\\[]{}(),$")
"""Signs that mean something in a value: Hydra's quotes, lists, functions, sweeps and interpolations."""


def quoted(argument: str) -> str:
    """Quote the value of an override where Hydra's lexer refuses it and it can be nothing but text.

    >>> quoted("dataset.category=Größe"), quoted("name=a b"), quoted("x=[ö]")
    ("dataset.category='Größe'", 'name=a b', 'x=[ö]')
    """
    found = _OVERRIDE.fullmatch(argument)
    if found is None or argument.startswith("-") or _GRAMMAR & set(found["value"]) or _is_read(argument):
        return argument
    return f"{found['key']}='{found['value']}'"


def refusal(error: OverrideParseException) -> str:
    """Say that an override cannot be read, and how to quote its value."""
    found = _OVERRIDE.fullmatch(error.override)
    why = _reason(error)
    if found is None:
        return f"{error.override}: is no override, as in key=value ({why})"
    return (
        f"{error.override}: Hydra cannot read the value ({why}); put text with signs of its own in quotes, and those "
        f'in the quotes of the shell: {found["key"]}=\'"some text"\', or {found["key"]}=\'["one","two"]\''
    )


def _reason(error: OverrideParseException) -> str:
    """Return what the grammar says, or the sign that its lexer does not know: the one above the caret."""
    lines = error.message.removeprefix(f"Error parsing override '{error.override}'\n").splitlines()
    lexer = "LexerNoViableAltException: "
    if not lines[0].startswith(lexer):
        return lines[0]
    return f"it knows no {error.override[lines[1].index('^') - len(lexer) :][:1]!r}"


def _is_read(argument: str) -> bool:
    try:
        _parser().parse_override(argument)
    except HydraException:
        return False
    return True


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()
