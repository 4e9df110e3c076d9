"""From what the benchmark saw to its tables: medians, ratios, and the entries of `results.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

TARGETS = {"W1": 2.5, "W2": 8.0, "W3": 5.0, "W4": 8.0}
"""TRL's whole step over adfm's, at least."""
PEAK_RATES = {"H200": 989e12, "H100": 989e12, "A100": 312e12}
"""Dense bfloat16 operations a second by the makers' data sheets (the SXM boards); by a part of the device's name."""
LARGE_CASES = ("3B LoRA", "3B full")
BEGIN, END = "<!-- tables: bench.py --table -->", "<!-- end of tables -->"


def summary(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return medians, ratios and rates of an entry of `results.json`."""
    medians = {
        kind: {part: median(step[part] for step in entry[kind]) for part in entry[kind][0]}
        for kind in ("adfm", "adfm_warm", "trl")
    }
    ours, warm, theirs = (medians[kind] for kind in ("adfm", "adfm_warm", "trl"))
    ratios = {part: theirs[part] / ours[part] for part in ("whole", "rollout", "update")}
    ratios["whole_warm"] = theirs["whole"] / warm["whole"]
    ratios["memory"] = entry["adfm_memory"]["peak"] / entry["trl_memory"]["peak"]
    return {"medians": medians, "ratios": ratios, "rates": rates(entry, ours)}


def rates(entry: Mapping[str, Any], ours: Mapping[str, float]) -> dict[str, float | None]:
    """Return adfm's tokens and rollouts a second and the use of the device in the update.

    Tokens count as EasyR1 counts them (prompt and completion of every rollout, over the whole step) and, apart, those
    of completions alone. The use counts the tokens that are computed, each prompt once: 6 operations a token and
    weight of the language layers, 4 with LoRA; embedding, head, attention and recomputation are left out.
    """
    workload = entry["workload"]
    rollouts = workload["prompts"] * workload["group_size"]
    written = rollouts * workload["completion_tokens"]
    packed = workload["prompts"] * entry["prompt_tokens"] + written
    operations = (4 if entry["lora"] else 6) * entry["layer_parameters"] * packed / ours["update"]
    gpus = entry["machine"]["gpus"]
    peak = next((rate for name, rate in PEAK_RATES.items() if gpus and name in gpus[0]), None)
    return {
        "tokens_per_second": (rollouts * entry["prompt_tokens"] + written) / ours["whole"],
        "completion_tokens_per_second": written / ours["whole"],
        "rollouts_per_second": rollouts / ours["whole"],
        "update_operations_per_second": operations,
        "update_mfu": None if peak is None else operations / peak,
    }


def keep(path: Path, entry: dict[str, Any]) -> None:
    """Put an entry into the file, in the place of the one of the same case and beta."""
    entries = [known for known in read(path) if (known["case"], known["beta"]) != (entry["case"], entry["beta"])]
    ordered = sorted([*entries, entry], key=lambda known: (known["case"], known["beta"]))
    path.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> list[dict[str, Any]]:
    """Return the entries; none where there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def tables(path: Path) -> str:
    """Render the comparison on the tiny model and the rates of the 3B, in Markdown."""
    entries = read(path)
    small = [entry for entry in entries if entry["case"] in TARGETS]
    large = [entry for entry in entries if entry["case"] not in TARGETS]
    parts = [_table(SMALL_HEAD, [_small(entry) for entry in small] or [["not measured"]])]
    missing = [name for name in LARGE_CASES if not any(entry["case"] == name for entry in large)]
    rows = [_large(entry) for entry in large] + [[name, "", "not measured"] for name in missing]
    parts.append(_table(LARGE_HEAD, rows))
    parts += sorted({_measured_on(entry) for entry in entries})
    return "\n\n".join(parts)


def write_tables(results: Path, readme: Path) -> str:
    """Put the tables between their marks in the README, and return them. Raises ValueError without the marks."""
    text = readme.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{readme}: the tables go between {BEGIN} and {END}, which are not there")
    rendered = tables(results)
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    readme.write_text(f"{before}{BEGIN}\n{rendered}\n{END}{after}", encoding="utf-8")
    return rendered


SMALL_HEAD = (
    *("case", "beta", "prompt", "steps", "adfm s", "TRL s", "TRL / adfm", "target", "rollout", "update"),
    *("features kept", "adfm MiB", "TRL MiB", "adfm / TRL", "before the first step", "loss, gradient differ by"),
)
LARGE_HEAD = (
    *("case", "beta", "TRL / adfm", "adfm s", "TRL s", "tokens/s", "written/s", "rollouts/s", "update MFU"),
    *("adfm MiB", "TRL MiB", "device"),
)


def _small(entry: Mapping[str, Any]) -> list[str]:
    medians, ratios, check = entry["medians"], entry["ratios"], entry["check"]
    memory = (entry["adfm_memory"], entry["trl_memory"])
    return [
        *(entry["case"], f"{entry['beta']:g}", str(entry["prompt_tokens"]), str(len(entry["trl"]))),
        *(f"{medians['adfm']['whole']:.2f}", f"{medians['trl']['whole']:.2f}", f"**{ratios['whole']:.1f}**"),
        *(f"{TARGETS[entry['case']]:g}", f"{ratios['rollout']:.1f}", f"{ratios['update']:.1f}"),
        f"{ratios['whole_warm']:.1f}",
        *(f"{side['peak']:.0f}" for side in memory),
        f"{ratios['memory']:.2f}",
        " / ".join(f"{side['before']:.0f}" for side in memory),
        f"{check['loss']:.0e}, {check['gradient']:.0e}",
    ]


def _large(entry: Mapping[str, Any]) -> list[str]:
    medians, rates = entry["medians"], entry["rates"]
    mfu = rates["update_mfu"]
    return [
        *(entry["case"], f"{entry['beta']:g}", f"**{entry['ratios']['whole']:.1f}**"),
        *(f"{medians['adfm']['whole']:.2f}", f"{medians['trl']['whole']:.2f}", f"{rates['tokens_per_second']:.0f}"),
        *(f"{rates['completion_tokens_per_second']:.0f}", f"{rates['rollouts_per_second']:.2f}"),
        "not known" if mfu is None else f"{mfu:.1%}",
        *(f"{entry[side]['peak']:.0f}" for side in ("adfm_memory", "trl_memory")),
        entry["machine"]["gpus"][0] if entry["machine"]["gpus"] else entry["machine"]["processor"],
    ]


def _measured_on(entry: Mapping[str, Any]) -> str:
    machine = entry["machine"]
    device = machine["gpus"][0] if machine["gpus"] else f"{machine['processor']}, {machine['threads']} threads"
    packages = ", ".join(
        f"{name} {machine['packages'][name]}" for name in ("torch", "transformers", "trl", "deepspeed")
    )
    return f"Measured {machine['date']} on {device}; {packages}."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    width = len(head)
    lines = [head, ["---"] * width, *([*row, *[""] * (width - len(row))] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
