"""What is known of each category: how a good one looks and which defects occur; in the project's own words."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files


@cache
def _texts(dataset: str) -> dict[str, str]:
    file = files("adfm.data").joinpath("knowledge_texts", f"{dataset}.json")
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def knowledge_of(dataset: str, category: str) -> str:
    """Return the text for a category of a data set that the package knows; empty for a category without one."""
    return _texts(dataset).get(category, "")
