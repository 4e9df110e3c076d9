"""Reading the XML annotations of Pascal VOC (Everingham et al., IJCV 2010), which many detection sets copy.

`<annotation><size><width/><height/></size><object><name/><bndbox><xmin/><ymin/><xmax/><ymax/></bndbox></object>...`
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from adfm.data.layouts.annotations import at, box_in, number
from adfm.errors import DataError
from adfm.types import Box


@dataclass(frozen=True, slots=True)
class Annotation:
    """What one file says of its image."""

    size: tuple[int, int] | None
    """Width and height; None where the file does not state them."""
    types: tuple[str, ...]
    """Of each object, as written."""
    boxes: tuple[Box, ...]
    """Of each object."""


def read_voc(file: Path) -> Annotation:
    """Read one annotation; `<filename>` is not trusted, for public copies have wrong ones.

    VOC counts pixels from 1 and includes the last, so `xmin` and `ymin` lose one (as in Detectron2); a box that leaves
    the image is cut at its edge.

    Raises:
        DataError: The file is missing, not XML, declares a document type (so no entity can be expanded), or an object
            lacks its name or a box; the message names file and object.
    """
    try:
        root = _parse(file.read_bytes())
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error
    except (expat.ExpatError, ValueError, LookupError, AssertionError) as error:
        raise DataError(f"{file}: not XML ({error})") from error
    except DataError as error:
        raise DataError(f"{file}: {error}") from error
    if root.tag != "annotation":
        raise DataError(f"{file}: starts with <{root.tag}>, not <annotation>")
    with at(str(file)):
        size = _size(root.find("size"))
    types, boxes = [], []
    for place, found in enumerate(root.findall("object"), start=1):
        with at(f"{file}, object {place}"):
            types.append(_text(found, "name"))
            xmin, ymin, xmax, ymax = (
                number(_text(found, f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")
            )
            boxes.append(box_in((xmin - 1, ymin - 1, xmax, ymax), size))
    return Annotation(size, tuple(types), tuple(boxes))


def _parse(content: bytes) -> Element:
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.Parse(content, True)
    return builder.close()


def _refuse(*_: object) -> NoReturn:
    raise DataError("declares a document type, which an annotation does not need; remove it")


def _size(size: Element | None) -> tuple[int, int] | None:
    if size is None:
        return None
    width, height = (number(_text(size, side)) for side in ("width", "height"))
    if min(width, height) < 1 or width % 1 or height % 1:
        raise DataError(f"size {width:g} x {height:g} is not that of an image")
    return int(width), int(height)


def _text(element: Element, path: str) -> str:
    text = (element.findtext(path) or "").strip()
    if not text:
        raise DataError(f"has no <{path.split('/')[-1]}>")
    return text
