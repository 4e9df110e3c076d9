"""How long `python -m adfm.data dataset=folder` takes on many PNGs with real texture, made here in a temporary folder.

The images are cut out of photographs that scikit-image bundles, turned, enlarged, lit and grained; no two are alike.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import skimage.data
from jaxtyping import UInt8
from numpy.random import Generator
from PIL import Image

from adfm.data.processes import mapped

SIDE = 512
DEFECTS = 0.1
"""Share of the images that lie in a folder of defects, with a mask beside."""
PHOTOGRAPHS = ("brick", "grass", "gravel", "coins", "moon", "camera", "astronaut", "coffee")
"""Of scikit-image, which has these in its package."""
RUNS = {
    "split as by default (clustered), first time": ["dataset/split=clustered"],
    "the same again": ["dataset/split=clustered"],
    "dataset/split=published, first time": ["dataset/split=published"],
}
"""What is timed, in this order; the last with an empty cache."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the images, check them, and print a row of the table for each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args(arguments)
    with TemporaryDirectory(prefix="data_check") as place:
        folder = Path(place) / "images"
        for name in ("good", "scratch", "ground_truth/scratch"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        jobs = [(folder, number) for number in range(given.images)]
        written = sum(mapped(write, jobs, doing="writing", processes=given.processes))
        print(f"{given.images} images of {SIDE} x {SIDE}, {written / 1e9:.2f} GB, {given.processes} processes")
        print("| run | seconds | ms an image |\n|---|---|---|")
        for number, (name, overrides) in enumerate(RUNS.items()):
            cache = Path(place) / ("second" if number == len(RUNS) - 1 else "first")
            seconds = timed([f"dataset.root={folder}", f"processes={given.processes}", *overrides], cache)
            print(f"| {name} | {seconds:.1f} | {1000 * seconds / given.images:.2f} |", flush=True)


def timed(overrides: Sequence[str], cache: Path) -> float:
    """Return the seconds of one check, start of Python included; it must find nothing broken."""
    command = [sys.executable, "-m", "adfm.data", "dataset=folder", *overrides]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"ADFM_CACHE": str(cache)})
    return time.perf_counter() - start


def write(job: tuple[Path, int]) -> int:
    """Write one image, and its mask if it has a defect; return the bytes of the image."""
    folder, number = job
    rng = np.random.default_rng(number)
    pixels = surface(rng)
    defective = rng.random() < DEFECTS
    if defective:
        x, y, width, height = (int(value) for value in rng.integers((40, 40, 20, 4), (300, 400, 160, 20)))
        place = np.s_[y : y + height, x : x + width]
        pixels[place] //= 3
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[place] = 255
        Image.fromarray(mask).save(folder / "ground_truth" / "scratch" / f"{number:05d}.png")
    path = folder / ("scratch" if defective else "good") / f"{number:05d}.png"
    Image.fromarray(pixels).save(path)
    return path.stat().st_size


def surface(rng: Generator) -> UInt8[np.ndarray, "512 512 3"]:
    """Cut a part out of a photograph, turn, enlarge and light it, and add the grain of a sensor."""
    photograph = Image.fromarray(getattr(skimage.data, rng.choice(PHOTOGRAPHS))()).convert("RGB")
    side = int(rng.integers(120, min(photograph.size) + 1))
    left, upper = (int(rng.integers(0, length - side + 1)) for length in photograph.size)
    cut = photograph.crop((left, upper, left + side, upper + side)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    pixels = np.rot90(np.asarray(cut, np.float32), int(rng.integers(4)))
    pixels = pixels * rng.uniform(0.7, 1.2) + rng.normal(0, 3, pixels.shape)
    return pixels.clip(0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
