"""An untrained checkpoint folder of the embedded model: what its recipe starts from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from adfm.models.tiny import architecture, tokenizer


class Scratch:
    """Writes a tokenizer trained on the texts of the cold start, an image processor and random weights."""

    def __init__(self, *, vocabulary: int = 800, samples: int = 4000) -> None:
        """Set the size.

        Args:
            vocabulary: Largest number of entries of the tokenizer.
            samples: How many training samples' prompts and reference completions the tokenizer is trained on.
        """
        self.vocabulary = vocabulary
        self.samples = samples

    def write(self, folder: Path, texts: Iterable[str], *, seed: int) -> None:
        """Write the checkpoint folder; the same texts and seed give the same bytes."""
        words = tokenizer.train(texts, vocabulary=self.vocabulary)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = architecture.make(words)
        model.save_pretrained(folder)
        words.save_pretrained(folder)
        architecture.make_image_processor().save_pretrained(folder)
