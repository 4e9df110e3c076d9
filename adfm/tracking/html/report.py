"""Write the page of a run: `report.write(folder)`."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from omegaconf import OmegaConf

from adfm.tracking.html import cards, charts, curves
from adfm.tracking.html.cards import Card
from adfm.tracking.html.folder import RunFiles
from adfm.tracking.html.results import results

TEMPLATES = Path(__file__).parent / "templates"
MOST_CARDS = 240
"""Predictions on one page: some three megabytes of pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryView:
    """Cards with their words."""

    anchor: str
    short: str
    title: str
    note: str
    cards: Sequence[Card]
    total: int
    counts: dict[str, int]
    categories: Sequence[str]


def write(folder: Path) -> Path:
    """Write `report.html` into a run folder from the files that are there, and return its path.

    The page needs no server and no network: pictures are inside it. What models wrote is shown as text only.

    Raises:
        ConfigError: `folder` is not a run folder.
        DataError: a file in it cannot be read.
    """
    page = environment().get_template("page.html").render(**_content(RunFiles.read(folder)))
    path = folder / "report.html"
    unfinished = path.with_suffix(".html.part")
    unfinished.write_text(page, encoding="utf-8")
    unfinished.replace(path)
    return path


def environment() -> Environment:
    """Make what renders the templates."""
    made = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    made.globals["thumbnail"] = cards.thumbnail
    made.filters["number"] = charts.number
    made.filters["decimal"] = lambda value: f"{value:.2f}".rstrip("0").rstrip(".")
    made.filters["words"] = lambda name: name.replace("_", " ")
    made.filters["or_empty"] = lambda value: "" if value is None else value
    return made


def assets() -> dict[str, Any]:
    """Return style and script of a page, and the hash by which alone the script may run."""
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return {
        "style": Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        "script": Markup(script),
        "script_hash": "sha256-" + base64.b64encode(digest).decode("ascii"),
    }


def _content(run: RunFiles) -> dict[str, Any]:
    """Gather what the page shows, under the names that its template uses."""
    return {
        **assets(),
        "title": run.path.name,
        "status": _status(run),
        "lead": _lead(run.config),
        "command": f"python -m adfm {run.path.parent.name}/{run.path.name}",
        "facts": _facts(run),
        "results": results(run),
        "rewards": curves.reward_panels(run.records),
        "validation": curves.validation_panels(run.records),
        "training": curves.training_panels(run.records),
        "trade_off": curves.trade_off_panels(run.records),
        "galleries": _galleries(run),
        "config_text": OmegaConf.to_yaml(run.config),
        "environment": json.dumps(run.environment, indent=2, ensure_ascii=False) if run.environment else "",
    }


def _galleries(run: RunFiles) -> list[GalleryView]:
    views = [
        _gallery(
            f"predictions-{number}",
            dataset,
            f"Predictions on {dataset}",
            "held-out images, failures first",
            cards.of_predictions(evaluated.predictions),
        )
        for number, (dataset, evaluated) in enumerate(run.after.items())
    ]
    if run.samples:
        title = f"Completions of step {run.samples[0]['step']}"
        note = "training images, as sampled and rewarded"
        views.append(_gallery("completions", "Completions", title, note, cards.of_sample_rows(run.samples)))
    return views


def _gallery(anchor: str, short: str, title: str, note: str, all_cards: list[Card]) -> GalleryView:
    return GalleryView(
        anchor=anchor,
        short=short,
        title=title,
        note=note,
        cards=cards.chosen(all_cards, MOST_CARDS),
        total=len(all_cards),
        counts=cards.counts(all_cards),
        categories=sorted({card.category for card in all_cards}),
    )


def _status(run: RunFiles) -> dict[str, Any]:
    step = run.records[-1]["step"] if run.records else 0
    if run.completed_steps and run.completed_steps >= step:
        return {"done": True, "text": f"complete, {run.completed_steps} steps"}
    return {"done": False, "text": f"step {step} of {run.config['steps']}"}


def _lead(config: dict[str, Any]) -> str:
    """Say in one line what the run is: model, data, template, reward, objective."""
    model = (config.get("model") or {}).get("path")
    parts = [model, *(_class_name(config.get(group)) for group in ("dataset", "reasoning", "objective"))]
    terms = (config.get("reward") or {}).get("terms") or {}
    rewards = " + ".join(_weighted(name, entry.get("weight", 1.0)) for name, entry in terms.items())
    return " · ".join(part for part in (*parts, rewards) if part)


def _weighted(name: str, weight: float) -> str:
    return name if weight == 1 else f"{weight:g} {name}"


def _class_name(node: Any) -> str | None:
    return node["_target_"].rpartition(".")[2] if isinstance(node, dict) and "_target_" in node else None


def _facts(run: RunFiles) -> dict[str, str]:
    """Pick what one looks for first; the whole configuration is at the end of the page."""
    facts = {name: _at(run.config, path) for name, path in FACTS.items()}
    git, gpus = run.environment.get("git"), run.environment.get("gpus")
    facts["adfm"] = f"{git['commit'][:10]}{' with changes' if git['dirty'] else ''}" if git else None
    facts["torch"] = _at(run.environment, "packages.torch")
    facts["device"] = ", ".join(gpus) or f"CPU, {run.environment['cpus']} cores" if gpus is not None else None
    if run.records:
        seconds = sum(record.get("seconds/step") or 0 for record in run.records)
        facts["time in steps"] = timedelta(seconds=round(seconds))
    return {name: str(value) for name, value in facts.items() if value is not None}


FACTS = {
    "study": "study",
    "seed": "seed",
    "prompts per step": "prompts_per_step",
    "completions per prompt": "rollout.group_size",
    "temperature": "rollout.temperature",
    "learning rate": "model.learning_rate",
    "beta": "objective.beta",
}


def _at(tree: Any, path: str) -> Any:
    for key in path.split("."):
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree
