"""What the tracking tests look at: a run as callbacks see it, and the folder that a finished run leaves."""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from adfm.config.run_folder import RunFolder
from adfm.data.masks import MaskFiles
from adfm.evaluation import metrics, prediction, true_masks
from adfm.evaluation.inspection import Draw, of_verdict
from adfm.evaluation.localization import boxes_mask
from adfm.evaluation.prediction import Prediction
from adfm.masks.rle import union_rle
from adfm.reasoning.frames import IdentityFrame
from adfm.tracking.gallery import Gallery
from adfm.tracking.jsonl import JsonLines
from adfm.types import Completion, Group, Prompt, Rewards, Sample, StepRecord, Verdict

CONFIG = """\
name: adfm
seed: 0
steps: 40
prompts_per_step: 24
study: null
model: {path: tiny, learning_rate: 3.0e-05}
dataset: {_target_: adfm.data.synthetic.Synthetic}
reasoning: {_target_: adfm.reasoning.three_stage.ThreeStage}
reward:
  _target_: adfm.rewards.composite.Composite
  terms:
    classification: {weight: 1.0}
    localization: {weight: 1.0}
    format: {weight: 0.1}
objective: {_target_: adfm.grpo.objective.GRPO, beta: 0.0}
rollout: {_target_: adfm.grpo.rollout.Sampling, group_size: 8, temperature: 1.0}
"""
KINDS = ("scratch", "crack", "hole", "stain")
CATEGORIES = ("brick", "grass", "gravel")


@dataclass
class FakeRun:
    """What callbacks read of an `adfm.run.Run`."""

    path: Path
    step: int = 0
    steps: int = 40
    is_main: bool = True
    name: str = "adfm"
    id: str = "0a1b2c3d"
    study: str | None = None
    config: dict[str, Any] = field(default_factory=lambda: {"seed": 0, "evaluate": {"metric": "box_iou"}})

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.path)


def draw_sample(folder: Path, number: int, rng: random.Random, size: tuple[int, int] = (112, 112)) -> Sample:
    """Draw a noisy grey image, every second with a dark blot, and say what is true of it."""
    folder.mkdir(parents=True, exist_ok=True)
    width, height = size
    noise = np.random.default_rng(number).normal(135, 18, (height, width)).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(noise).convert("RGB")
    anomalous = number % 2 == 0
    x0, y0 = rng.randrange(width - 26), rng.randrange(height - 26)
    box = (float(x0), float(y0), float(x0 + rng.randrange(12, 26)), float(y0 + rng.randrange(8, 26)))
    mask = Image.new("L", size)
    if anomalous:
        ImageDraw.Draw(image).ellipse(box, fill=(45, 38, 35))
        ImageDraw.Draw(mask).ellipse(box, fill=255)
    path, mask_path = folder / f"{number:04d}.png", folder / f"{number:04d}_mask.png"
    mask.save(mask_path)
    image.save(path)
    return Sample(
        id=f"{CATEGORIES[number % 3]}/{number:04d}",
        image=path,
        stated_size=(width, height),
        category=CATEGORIES[number % 3],
        anomalous=anomalous,
        defect_type=KINDS[number % 4] if anomalous else None,
        stated_boxes=(box,) if anomalous else (),
        mask=MaskFiles((mask_path,)) if anomalous else None,
        attributes={"bin": ("easy", "medium", "hard")[number % 3]} if anomalous else {},
    )


def read_verdict(sample: Sample, rng: random.Random, skill: float) -> Verdict:
    """Say what a model of some skill would say about a sample."""
    said = sample.anomalous if rng.random() < skill else not sample.anomalous
    boxes = []
    if said:
        base = sample.boxes[0] if sample.boxes and rng.random() < skill else (20.0, 15.0, 44.0, 40.0)
        boxes = [tuple(float(round(edge + rng.gauss(0, 4 * (1.2 - skill)))) for edge in base)]
    named = ", ".join(f"[{', '.join(f'{edge:g}' for edge in box)}]" for box in boxes)
    stages: dict[str, str | None] = {
        "think": f"{f'A dark {sample.defect_type}' if said else 'An even texture'}. Boxes: {named or 'none'}.",
        "rethink": "Looking again, the edge of the region is sharp and its tone differs from the texture around it."
        if said
        else "Looking again, nothing interrupts the texture.",
        "answer": "a" if said else "b",
    }
    unread = rng.random() > 0.95
    tagged = "".join(f"<{tag}>{words}</{tag}>" for tag, words in stages.items())
    text = "I am not sure <b>what</b> to say" if unread else tagged
    return Verdict(
        text=text,
        stages=dict.fromkeys(stages) if unread else stages,
        reasoning_letter=None,
        answer_letter=None if unread else stages["answer"],
        anomalous=None if unread else said,
        boxes_written=() if unread else tuple(boxes),
        boxes=() if unread else tuple(boxes),
        reasons=("no_answer", "no_think") if unread else (),
    )


def make_group(sample: Sample, verdicts: list[Verdict]) -> Group:
    """Reward verdicts about a sample: one point for the class, up to one for the place, one for the format."""
    classification = np.array([float(verdict.anomalous == sample.anomalous) for verdict in verdicts])
    localization = np.array([0.5 * float(bool(verdict.boxes) == sample.anomalous) for verdict in verdicts])
    form = np.array([float(not verdict.reasons) for verdict in verdicts])
    prompt = Prompt(
        id=sample.id,
        sample=sample,
        messages=(),
        images=(sample.image,),
        frame=IdentityFrame(width=sample.width, height=sample.height),
        choices={"a": True, "b": False},
        key="a" if sample.anomalous else "b",
    )
    return Group(
        prompt=prompt,
        completions=tuple(make_completion(verdict) for verdict in verdicts),
        verdicts=tuple(verdicts),
        rewards=Rewards(
            terms={"classification": classification, "localization": localization, "format": form},
            total=classification + localization + 0.1 * form,
        ),
    )


def make_completion(verdict: Verdict) -> Completion:
    """Make the completion that was read as a verdict."""
    return Completion(
        token_ids=np.array([1, 2]), sampler_logprob=np.zeros(2), text=verdict.text, truncated=bool(verdict.reasons)
    )


def step_metrics(step: int, steps: int, rng: random.Random) -> dict[str, float]:
    """Make metrics that look like a run that learns a little."""
    share = step / steps
    wobble = lambda size: rng.gauss(0, size)  # noqa: E731
    metrics_of_step = {
        "reward/total_mean": 1.45 + 0.25 * share + wobble(0.05),
        "reward/total_std": 0.42 - 0.08 * share + wobble(0.02),
        "reward/classification_mean": 0.81 + 0.04 * share + wobble(0.02),
        "reward/classification_std": 0.36 + wobble(0.02),
        "reward/localization_mean": 0.55 + 0.08 * share + wobble(0.03),
        "reward/localization_std": 0.3 + wobble(0.02),
        "reward/format_mean": 0.98 + wobble(0.004),
        "reward/format_std": 0.05,
        "groups/without_spread": 0.3 + 0.2 * share + wobble(0.04),
        "advantage/abs_mean": 0.6 + wobble(0.05),
        "kl": 0.002 * share + abs(wobble(0.0002)),
        "entropy": 0.42 - 0.1 * share + wobble(0.01),
        "clip_fraction": 0.01 * rng.random(),
        "loss": wobble(0.01),
        "grad_norm": math.exp(wobble(0.4)),
        "learning_rate": 3e-5 * min(1, step / 5),
        "completion/length_mean": 31 + 3 * share + wobble(0.8),
        "completion/truncated": 0.01 * rng.random(),
        "parse/no_answer": 0.012 * rng.random(),
        "parse/bad_box": 0.02 * rng.random(),
        "tokens_per_second": 2400 + wobble(120),
        "seconds/rollout": 1.3 + wobble(0.1),
        "seconds/reward": 0.02,
        "seconds/update": 0.8 + wobble(0.05),
        "seconds/step": 2.2 + wobble(0.1),
        "peak_memory_mb": 812.0,
        "logprob_gap": 1e-6,
    }
    if step % 10 == 0:
        metrics_of_step |= {
            "val/balanced_accuracy": 0.85 + 0.03 * share,
            "val/box_iou": 0.34 + 0.05 * share + wobble(0.01),
        }
    return metrics_of_step


def fill(folder: Path, images: Path, *, steps: int = 40, held_out: int = 48) -> None:
    """Write everything that a finished run leaves in its folder, through the same code where there is some."""
    rng = random.Random(0)
    run = FakeRun(folder, steps=steps)
    callbacks = [JsonLines(), Gallery(every=10)]
    for callback in callbacks:
        callback.before_run(run)
    for callback in callbacks:
        callback.after_step(StepRecord(step=0, groups=(), metrics={"val/balanced_accuracy": 0.84, "val/box_iou": 0.33}))
    for step in range(1, steps + 1):
        samples = [draw_sample(images / "train", number, rng) for number in range(4)]
        groups = [make_group(sample, [read_verdict(sample, rng, 0.8) for _ in range(8)]) for sample in samples]
        for callback in callbacks:
            callback.after_step(StepRecord(step=step, groups=groups, metrics=step_metrics(step, steps, rng)))
    for callback in callbacks:
        callback.after_run()
    samples = [draw_sample(images / "test", number, rng) for number in range(held_out)]
    for name, skill in {"eval/before": 0.7, "eval": 0.85}.items():
        write_evaluation(folder / name / "synthetic", [predict(sample, rng, skill) for sample in samples])
        true_masks.write(folder / name / "synthetic" / true_masks.NAME, samples)
    git = {"commit": "0629130f63f4a1b0", "dirty": False}
    environment = {"python": "3.11.7", "packages": {"torch": "2.13.0"}, "git": git, "cpus": 2, "gpus": []}
    (folder / "env.json").write_text(json.dumps(environment), encoding="utf-8")
    run.folder.complete(steps)


def predict(sample: Sample, rng: random.Random, skill: float) -> Prediction:
    """Predict one sample with some skill."""
    verdict = read_verdict(sample, rng, skill)
    rewards = make_group(sample, [verdict]).rewards
    numbers = {name: float(values[0]) for name, values in rewards.terms.items()} | {"total": float(rewards.total[0])}
    score = (2.0 if verdict.anomalous else -2.0) + rng.gauss(0, 1)
    pixels = boxes_mask(verdict.boxes, width=sample.width, height=sample.height)
    draws = [verdict, read_verdict(sample, rng, skill), read_verdict(sample, rng, skill)]
    said = of_verdict(
        verdict,
        score=score,
        confidences=(0.75,) * len(verdict.boxes),
        named_type=sample.defect_type if verdict.anomalous else None,
        mask=union_rle(pixels[None]),
        draws=tuple(Draw(text=one.text, predicted=one.anomalous, boxes=one.boxes) for one in draws),
    )
    return prediction.from_inspection(sample, said, rewards=numbers)


def write_evaluation(folder: Path, predictions: list[Prediction], trained: str = "") -> None:
    """Write `predictions.jsonl` and `metrics.json`, with a baseline row."""
    table = metrics.table(predictions, resamples=100)
    normal = [replace(one, predicted=False, boxes=(), score=0.0) for one in predictions]
    baselines = {"always normal": metrics.table(normal, resamples=100)["overall"]}
    prediction.write(folder / "predictions.jsonl", predictions)
    about = {"dataset": folder.name, "score": "answer", "split": "test", "trained": trained}
    content = {**about, **table, "baselines": baselines}
    (folder / "metrics.json").write_text(json.dumps(content), encoding="utf-8")
