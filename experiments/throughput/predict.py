"""Images per second of `adfm.predict` and of batched `generate`, over the same images with the same weights.

    python experiments/throughput/predict.py [--images 256] [--rounds 5] [--batch 32] [--threads 2]

Every round has other images and every side copies of its own, so that nothing is kept from before, and the sides take
turns at going first. All begin with files and end with text:

    generate     transformers' own path: read with Pillow, processor with left padding, greedy `generate`, decode
    inspect      `Inspector.inspect`: the same text, and from it verdict, boxes with confidences, and the anomaly score
    predict      the command's whole work: inspect, and overlay, mask, table, COCO file and page on the disk
    predict x 2  the same with `nproc=2`: two processes, each with half of the threads; that both have started is not
                 counted

`results.json` beside this file has every round; the table of medians is printed.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer
from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
from transformers.processing_utils import ProcessorMixin

from adfm.config.compose import build, compose
from adfm.inspection import run
from adfm.inspection.inspector import Inspector
from adfm.inspection.sources import Source
from adfm.team import Team
from adfm.types import Sample

PROCESSES = 2


class ImageTextProcessor(Qwen2_5_VLProcessor):
    """The family's processor without its video part, which would need torchvision."""

    def __init__(self, image_processor: Any, tokenizer: Any, chat_template: str | None = None) -> None:
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


class Generate:
    """Greedy completions by `generate`, in batches padded on the left."""

    def __init__(self, inspector: Inspector, batch: int) -> None:
        folder, config = str(inspector.folder), inspector.vlm.config
        limits = {"min_pixels": config.min_pixels, "max_pixels": config.max_pixels}
        tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        images = AutoImageProcessor.from_pretrained(folder, backend="pil", **limits)
        self.processor = ImageTextProcessor(images, tokenizer, chat_template=tokenizer.chat_template)
        self.model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
        self.inspector = inspector
        self.batch = batch

    @torch.no_grad()
    def __call__(self, samples: Sequence[Sample]) -> list[str]:
        """Write about all samples."""
        return [
            text
            for first in range(0, len(samples), self.batch)
            for text in self._written(samples[first : first + self.batch])
        ]

    def _written(self, samples: Sequence[Sample]) -> list[str]:
        vlm = self.inspector.vlm
        prompts = [self.inspector.template.ask(sample, vlm.frames) for sample in samples]
        texts = [
            self.processor.apply_chat_template(list(prompt.messages), tokenize=False, add_generation_prompt=True)
            for prompt in prompts
        ]
        images = [Image.open(sample.image).convert("RGB") for sample in samples]
        inputs = self.processor(text=texts, images=images, padding=True, return_tensors="pt")
        written = self.model.generate(
            **inputs,
            max_new_tokens=vlm.config.completion_tokens,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            repetition_penalty=1.0,
            suppress_tokens=list(vlm.suppressed_token_ids),
        )
        return [vlm.decode(row.tolist()) for row in written[:, inputs["input_ids"].shape[1] :]]


def sources_of(samples: Sequence[Sample]) -> list[Source]:
    """Make sources of samples, with the category that their prompt names."""
    return [Source(path=sample.image, name=sample.image.name, category=sample.category) for sample in samples]


def main() -> None:
    """Measure, print the table and write `results.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256, help="of each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warm = PROCESSES * arguments.batch  # in the round that is not counted every process has a batch
    count = arguments.images * arguments.rounds + warm
    dataset = build(compose("data", [f"dataset.test={count}", "dataset.train=2", "dataset.val=2"]).dataset)
    samples = list(dataset.split("test"))
    load = functools.partial(Inspector, "tiny", masks="box", batch=arguments.batch)
    rounds = [samples[:warm]]
    rounds += [samples[start : start + arguments.images] for start in range(warm, count, arguments.images)]
    measured, same = [], 0
    with Team(1, load) as alone, Team(PROCESSES, load) as together:
        sides = sides_of(load(), arguments.batch, {"predict": alone, f"predict x {PROCESSES}": together})
        for number, members in enumerate(rounds):
            seconds, texts = one_round(sides, members, first=number, threads=arguments.threads)
            if number:
                measured.append({side: len(members) / spent for side, spent in seconds.items()})
                same += sum(ours == theirs for ours, theirs in zip(texts["inspect"], texts["generate"], strict=True))
    told(measured, same, arguments)


def sides_of(
    inspector: Inspector, batch: int, teams: Mapping[str, Team[Inspector]]
) -> dict[str, tuple[int, Callable[[Sequence[Sample]], list[str]]]]:
    """Give what is compared, by name, each with the number of its processes."""

    def inspect(samples: Sequence[Sample]) -> list[str]:
        found = sources_of(samples)
        return [
            one.text
            for first in range(0, len(found), batch)
            for one in inspector.inspect_sources(found[first : first + batch])
        ]

    def predict(samples: Sequence[Sample], team: Team[Inspector]) -> list[str]:
        out = Path(tempfile.mkdtemp())
        try:
            run.predict(inspector, sources_of(samples), out, batch=batch, team=team)
        finally:
            shutil.rmtree(out)
        return []

    predicting = {name: (team.size, functools.partial(predict, team=team)) for name, team in teams.items()}
    return {"generate": (1, Generate(inspector, batch)), "inspect": (1, inspect), **predicting}


def one_round(
    sides: Mapping[str, tuple[int, Callable[[Sequence[Sample]], list[str]]]],
    samples: Sequence[Sample],
    *,
    first: int,
    threads: int,
) -> tuple[dict[str, float], dict[str, list[str]]]:
    """Let every side work on the same images, another one first each time; return seconds and texts.

    Each side has copies of its own, since adfm keeps features by path and content, and the threads divided among its
    processes.
    """
    names = list(sides)
    names = names[first % len(names) :] + names[: first % len(names)]
    seconds, texts = {}, {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            copies = [
                replace(sample, image=Path(shutil.copy(sample.image, Path(folder) / sample.image.name)))
                for sample in samples
            ]
            processes, side = sides[name]
            torch.set_num_threads(max(1, threads // processes))
            start = time.perf_counter()
            texts[name] = side(copies)
            seconds[name] = time.perf_counter() - start
    return seconds, texts


def told(measured: Sequence[dict[str, float]], same: int, arguments: argparse.Namespace) -> None:
    """Print the medians and keep all rounds."""
    medians = {side: median(one[side] for one in measured) for side in measured[0]}
    print("| side | images/s (median) | against generate |\n|---|---|---|")
    for side, pace in medians.items():
        ratio = median(one[side] / one["generate"] for one in measured)
        print(f"| {side} | {pace:.1f} | {ratio:.2f} |")
    total = arguments.images * arguments.rounds
    print(f"the same text: {same} of {total} images")
    kept = {"settings": vars(arguments), "torch": torch.__version__, "images_per_second": measured, "same_text": same}
    Path(__file__).with_name("results.json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
