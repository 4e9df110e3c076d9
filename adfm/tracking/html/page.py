"""What every page stands on: templates, style, script and pictures in one HTML file that opens from the file system."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from adfm.files import write_whole
from adfm.tracking.html import charts, layers
from adfm.tracking.html.mentions import pieces
from adfm.tracking.html.pictures import Pictures

TEMPLATES = Path(__file__).parent / "templates"
STYLES = ("page.css", "gallery.css")
SCRIPTS = ("page.js", "gallery.js", "dialog.js")
MOST_BYTES = 19_000_000
"""Of a page; below what a mailbox takes."""
_HOLD = "<!--pictures-->"
"""Where the pictures go; text of a model cannot hold it, because its `<` is escaped."""


def write(path: Path, template: str, content: Mapping[str, Any]) -> Path:
    """Render a page and write it, whole or not at all; return its path.

    The page needs no server and no network: pictures are inside it, small, and link to their files. What models wrote
    is shown as text only. Words come first, and pictures get what is left of `MOST_BYTES`.
    """
    pictures = Pictures(path.parent)
    drawn_with = {"picture": pictures.add, "full_image": pictures.address, "pictures": Markup(_HOLD)}
    body = environment().get_template(template).render(**content, **assets(), **drawn_with)
    drawn = pictures.defined(MOST_BYTES - len(body.encode("utf-8")))
    write_whole(path, body.replace(_HOLD, drawn, 1))
    return path


@cache
def environment() -> Environment:
    """Make what renders the templates, which are compiled once in a process."""
    made = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    made.globals |= {"mask_png": layers.mask_png, "pieces": pieces}
    made.filters["number"] = charts.number
    made.filters["decimal"] = lambda value: f"{value:.2f}".rstrip("0").rstrip(".")
    made.filters["words"] = lambda name: str(name).replace("_", " ")
    return made


def assets() -> dict[str, Any]:
    """Return style and script of a page, and the hash by which alone the script may run."""
    script = _together(SCRIPTS)
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return {
        "style": Markup(_together(STYLES)),
        "script": Markup(script),
        "script_hash": "sha256-" + base64.b64encode(digest).decode("ascii"),
    }


def _together(names: tuple[str, ...]) -> str:
    return "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names)
