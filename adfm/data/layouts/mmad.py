"""MMAD (Jiang et al., ICLR 2025) as published: `mmad.json` beside the folders of its data sets; a sample is a question.

`mmad.json` maps an image, `<data set>/<category>/.../<good or type>/<name>`, to its questions, mask and templates. The
questions stand under the first key that begins with `conversation`; `annotation` of a question is ignored, as the
released evaluation does. A mask lies in the category's folder or one below it (the released code has both); several
files in a folder named after the image are one mask, and every colour is defect. Source: `jam-cc/MMAD:README.md`,
`dataset/MMAD/generate_metadata.py` and `evaluation/examples/Transformers`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from adfm.data.benchmark import Listing, Source
from adfm.data.layouts.annotations import at, read_json
from adfm.data.layouts.files import images
from adfm.data.masks import MaskFiles
from adfm.data.mmad import ATTRIBUTE, FOLDED, IMAGE, LETTERS, RENAMED, TYPES
from adfm.data.mmad import DETECTION as DETECTION_TYPE
from adfm.errors import ConfigError, DataError
from adfm.types import DETECTION, Question, Sample

FILE = "mmad.json"
UNTYPED = "bad"
"""VisA's folder of anomalies, whatever their type."""
KNOWN_AS = {"DS-MVTec": "MVTec"}
"""Names of data sets in the file of domain knowledge."""


def mmad(
    source: Source,
    *,
    shots: int = 1,
    templates: Literal["random", "similar"] = "random",
    knowledge: str | None = None,
    kinds: Sequence[str] | None = None,
    datasets: Sequence[str] | None = None,
) -> Listing:
    """List MMAD's questions, all in `test`; their ids are `<image>#<place among the image's questions, from 0>`.

    Args:
        source: Holds mmad.json and the folders that it names.
        shots: Templates, which are normal images, as references of each question; fewer where the file has fewer.
        templates: Whether they are those drawn at random or those that look most alike.
        knowledge: The released domain_knowledge.json; None gives no knowledge.
        kinds: Question types by the names of the seven columns; None takes all.
        datasets: Data sets by their folders; None takes all.

    Raises:
        ConfigError: An option names what is not there.
        DataError: A file is wrong; the message names it, the image and the question.
    """
    unknown = sorted(set(kinds or ()) - set(TYPES))
    if unknown:
        raise ConfigError(f"dataset.layout.kinds: {unknown[0]!r} is none of {', '.join(TYPES)}")
    if shots < 0:
        raise ConfigError(f"dataset.layout.shots must not be negative, but is {shots}")
    file = source.root / FILE
    texts = _Texts(Path(knowledge)) if knowledge is not None else None
    reader = _Reader(source, shots, f"{templates}_templates", frozenset(kinds or TYPES), texts)
    listing = Listing(has_knowledge=True)
    for key, entry in _chosen(file, source, datasets).items():
        with at(f"{file}, {key!r}"):
            if not isinstance(entry, dict):
                raise DataError(f"must be an object, not {entry!r:.40}")
            conversation = next((name for name in entry if name.startswith("conversation")), None)
            if conversation is None:
                listing.excluded[key] = "has no questions"
            else:
                listing.parts["test"] += reader.samples(key, entry, entry[conversation])
    return listing


@dataclass(slots=True)
class _Reader:
    """What all entries share."""

    source: Source
    shots: int
    templates: str
    kinds: frozenset[str]
    texts: _Texts | None
    paths: dict[str, Path] = field(default_factory=dict)

    def samples(self, key: str, entry: Mapping[str, Any], conversation: Any) -> list[Sample]:
        """Make the samples of an image's questions."""
        if not isinstance(conversation, list):
            raise DataError(f"its questions must be a list, not {conversation!r:.40}")
        parts = key.split("/")
        dataset, anomalous = RENAMED.get(parts[0], parts[0]), "good" not in parts
        typed = anomalous and parts[-2] != UNTYPED
        image = self._path(key)
        shared: dict[str, Any] = {
            "image": image,
            "category": parts[1].replace("_", " "),
            "anomalous": anomalous,
            "defect_type": parts[-2].replace("_", " ") if typed else None,
            "mask": self._mask(image, parts, entry.get("mask_path")) if anomalous else None,
            "references": tuple(self._path(path) for path in self._templates(entry)),
            "knowledge": self.texts.of(dataset, parts[1]) if self.texts else "",
            "attributes": {ATTRIBUTE: dataset, IMAGE: key},
        }
        found = []
        for number, item in enumerate(conversation):
            with at(f"question #{number}"):
                question = _question(item)
            if (DETECTION_TYPE if question.kind == DETECTION else question.kind) in self.kinds:
                found.append(Sample(id=f"{key}#{number}", question=question, **shared))
        return found

    def _templates(self, entry: Mapping[str, Any]) -> Sequence[Any]:
        if self.shots == 0:
            return ()
        listed = entry.get(self.templates)
        if not isinstance(listed, list):
            raise DataError(f"{self.templates!r} must be a list, not {listed!r:.40}; dataset.layout.shots=0 needs none")
        return listed[: self.shots]

    def _mask(self, image: Path, parts: Sequence[str], stated: Any) -> MaskFiles | None:
        if stated in (None, ""):
            return None
        if not isinstance(stated, str):
            raise DataError(f"'mask_path' must be a path, not {stated!r:.40}")
        joined = [self._path("/".join((*parts[:depth], stated)), stated) for depth in (2, 3)]
        candidates = [path for place in joined for path in (place, place.with_suffix(""))]
        found = next(filter(_is_there, candidates), None)
        if found is None:
            files = candidates[:1]  # whoever reads it is told
        elif found.is_dir():
            files = images(found)
        else:
            files = images(found.parent) if found.parent.name == image.stem else [found]
        settings = {"dilation": self.source.dilation, "min_area": self.source.min_area}
        return MaskFiles(tuple(files), above=0, **settings)

    def _path(self, relative: Any, stated: str | None = None) -> Path:
        """Return the path below root; `stated` is the part of it that the file says."""
        own = relative if stated is None else stated
        if not isinstance(own, str) or not own or own.startswith("/") or ".." in own.split("/"):
            raise DataError(f"{own!r:.80} is no path inside {self.source.root}")
        _checked(own, "a path")
        if relative not in self.paths:
            self.paths[relative] = self.source.root / relative
        return self.paths[relative]


class _Texts:
    """The released domain knowledge: data set to category to what it knows of the good and of each defect."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.content = read_json(file)
        self._joined: dict[tuple[str, str], str] = {}

    def of(self, dataset: str, category: str) -> str:
        """Return all texts of a category, one a line."""
        if (dataset, category) not in self._joined:
            name = KNOWN_AS.get(dataset, dataset)
            of_dataset = self.content.get(name) if isinstance(self.content, dict) else None
            texts = of_dataset.get(category) if isinstance(of_dataset, dict) else None
            if not isinstance(texts, dict) or not texts or not all(isinstance(text, str) for text in texts.values()):
                raise DataError(
                    f"{self.file}: has no texts for {name}, {category}; set dataset.layout.knowledge=null to do without"
                )
            self._joined[dataset, category] = _checked("\n".join(texts.values()), f"knowledge of {name}, {category}")
        return self._joined[dataset, category]


def _chosen(file: Path, source: Source, datasets: Sequence[str] | None) -> dict[str, Any]:
    """Return the entries of the wanted data sets and categories."""
    entries: dict[str, Any] = read_json(file)
    if not isinstance(entries, dict):
        raise DataError(f"{file}: must map images to their questions")
    places: dict[str, tuple[str, str]] = {}
    for key in entries:
        parts = key.split("/")
        if len(parts) < 4 or "" in parts:
            raise DataError(f"{file}, {key!r}: is not <data set>/<category>/.../<good or type>/<image>")
        places[key] = RENAMED.get(parts[0], parts[0]), parts[1]
    found = sorted({dataset for dataset, _ in places.values()})
    if missing := sorted(set(datasets or ()) - set(found)):
        raise ConfigError(f"dataset.layout.datasets: {missing[0]!r} is not in {file}, which has {', '.join(found)}")
    categories = source.chosen(sorted({category for _, category in places.values()}))
    return {
        key: entries[key]
        for key, (dataset, category) in places.items()
        if category in categories and (datasets is None or dataset in datasets)
    }


def _question(item: Any) -> Question:
    if not isinstance(item, dict):
        raise DataError(f"must be an object, not {item!r:.40}")
    for name, kind in (("Question", str), ("Options", dict), ("Answer", str), ("type", str)):
        if not isinstance(item.get(name), kind) or not item[name]:
            raise DataError(f"{name!r} must be {'an object' if kind is dict else 'a text'}, not {item.get(name)!r:.40}")
    options, answer = item["Options"], item["Answer"]
    if not 2 <= len(options) <= len(LETTERS) or not set(options) <= set(LETTERS):
        raise DataError(f"'Options' must be 2 to {len(LETTERS)} of {', '.join(LETTERS)}, not {list(options)!r:.40}")
    for letter, text in options.items():
        if not isinstance(text, str):
            raise DataError(f"option {letter} must be a text, not {text!r:.40}")
        _checked(text, f"option {letter}")
    if answer not in options:
        raise DataError(f"'Answer' {answer!r:.40} is none of its options {', '.join(options)}")
    stated: str = item["type"]
    column = FOLDED.get(stated, stated)
    return Question(
        text=_checked(item["Question"], "'Question'"),
        options=options,
        answer=answer,
        kind=DETECTION if column == DETECTION_TYPE else _checked(column, "'type'"),
    )


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that no file can have
        return False


def _checked(text: str, what: str) -> str:
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise DataError(f"{what} is no valid text: {text!r:.40}")
    return text
