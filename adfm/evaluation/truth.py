"""What pixels are truly defective, read when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from adfm.errors import DataError
from adfm.evaluation.prediction import Prediction
from adfm.masks.rle import rle_mask, union_rle
from adfm.types import Sample

Truth = Callable[[Prediction], Bool[np.ndarray, "height width"] | None]
"""The true mask of an anomalous prediction's sample, in the size of its image; None where the data has none."""


def truth_of(samples: Sequence[Sample]) -> Truth:
    """Read true masks through the samples that were predicted; each file once, after that it is kept as run lengths.

    What it gives raises DataError for a prediction about another sample, and where a mask file is missing or broken.
    """
    by_id = {sample.id: sample for sample in samples}
    kept: dict[str, Mapping[str, Any]] = {}

    def truth(prediction: Prediction) -> Bool[np.ndarray, "height width"] | None:
        sample = by_id.get(prediction.id)
        if sample is None:
            raise DataError(f"the prediction {prediction.id} is about no sample of this data set")
        if sample.mask is None:
            return None
        if sample.id not in kept:
            kept[sample.id] = union_rle(sample.mask.read((prediction.width, prediction.height))[None])
        return rle_mask(kept[sample.id])

    return truth
