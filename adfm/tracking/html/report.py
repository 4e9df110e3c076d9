"""Write the page of a run: `report.write(folder)`."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from adfm.tracking.html import card_files, curves, difference, evaluation, gallery, page
from adfm.tracking.html.folder import RunFiles
from adfm.tracking.html.gallery import GalleryView
from adfm.tracking.html.results import results

MOST_EVENTS = 12
"""Alarms and recoveries that the page lists; a run with more has its earlier ones in `events.jsonl`."""


def write(folder: Path, *, against: Path | None = None) -> Path:
    """Write `report.html` into a run folder from the files that are there, and return its path.

    With another run's folder as `against`, the page says also what the two were asked to do differently.

    Raises:
        ConfigError: a folder is not a run folder.
        DataError: a file in it cannot be read.
    """
    run = RunFiles.read(folder)
    other = None if against is None else RunFiles.read(against)
    return page.write(folder / "report.html", "run.html", _content(run, other))


def _content(run: RunFiles, other: RunFiles | None) -> dict[str, Any]:
    """Gather what the page shows, under the names that its template uses."""
    return {
        "title": run.path.name,
        "status": _status(run),
        "lead": _lead(run.config),
        "command": f"python -m adfm {run.path.parent.name}/{run.path.name}",
        "facts": _facts(run),
        "events": run.events[: -MOST_EVENTS - 1 : -1],
        "earlier_events": max(0, len(run.events) - MOST_EVENTS),
        "results": results(run.before, run.after),
        "operation": [found for name, one in run.after.items() if (found := evaluation.operation(name, one))],
        "rewards": curves.reward_panels(run.records),
        "validation": curves.validation_panels(run.records),
        "training": curves.training_panels(run.records),
        "trade_off": curves.trade_off_panels(run.records),
        "galleries": _galleries(run),
        "config_text": OmegaConf.to_yaml(run.config),
        "environment": json.dumps(run.environment, indent=2, ensure_ascii=False) if run.environment else "",
        "differences": difference.tables(run, other) if other else [],
    }


def _galleries(run: RunFiles) -> list[GalleryView]:
    views = [
        evaluation.gallery_of(f"predictions-{number}", name, evaluated)
        for number, (name, evaluated) in enumerate(run.after.items())
    ]
    if run.samples:
        title = f"Completions of step {run.samples[0]['step']}"
        note = "training images, all completions of a prompt side by side"
        groups = card_files.of_sample_rows(run.samples)
        views.append(gallery.view("completions", "Completions", title, note, groups, unit="prompt"))
    return views


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
