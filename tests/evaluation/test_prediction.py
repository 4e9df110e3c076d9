from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation_support import predicted
from PIL import Image

from adfm.data.masks import MaskFiles
from adfm.errors import DataError
from adfm.evaluation import prediction
from adfm.evaluation.inspection import Draw, of_verdict, verdict_of
from adfm.evaluation.prediction import Prediction
from adfm.masks.rle import union_rle
from adfm.types import Sample, Verdict


def test_a_line_of_json_gives_the_prediction_back() -> None:
    one = predicted(
        3,
        True,
        None,
        score=-812.5,
        attributes={"bin": "hard", "contrast": 1.5},
        true_boxes=((1.0, 2.0, 3.0, 4.0),),
        boxes=((0.5, 0.0, 3.25, 4.0), (5.0, 5.0, 6.0, 6.0)),
        boxes_written=((1.0, 0.0, 7.0, 8.0),),
        mask_iou=0.25,
        text="<think>ein Riß\n</think>",
        stages={"think": "ein Riß", "answer": None},
        reasons=("no_answer",),
        rewards={"format": 0.0, "total": 0.5},
        confidences=(0.75, 0.5),
        named_type="crack",
        mask={"size": [10, 20], "counts": "0j6"},
        draws=(
            Draw(text="<think>", predicted=None, boxes=((0.0, 1.0, 2.0, 3.0),)),
            Draw(text="", predicted=True, boxes=()),
        ),
        seconds=0.125,
        tokens=17,
    )
    assert Prediction.from_json(one.to_json()) == one
    assert "\n" not in one.to_json()


def test_a_line_of_an_older_version_is_read() -> None:
    later = {"letters", "probability", "confidences", "named_type", "mask", "draws"}
    older = {key: value for key, value in json.loads(predicted(0, True, True).to_json()).items() if key not in later}
    assert Prediction.from_json(json.dumps(older)) == predicted(0, True, True)


def test_a_score_that_is_no_number_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        predicted(0, True, True, score=float("nan")).to_json()


def test_a_file_gives_its_predictions_back(tmp_path: Path) -> None:
    several = [predicted(number, bool(number % 2), None) for number in range(3)]
    prediction.write(tmp_path / "new" / "predictions.jsonl", several)
    assert prediction.read(tmp_path / "new" / "predictions.jsonl") == several
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["predictions.jsonl"]


def test_a_line_that_is_no_prediction_is_named(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_text(predicted(0, True, True).to_json() + '\n{"id": "1"}\n')
    with pytest.raises(DataError, match=r"predictions.jsonl, line 2: .*'score'"):
        prediction.read(path)


def test_boxes_are_held_against_the_true_mask(tmp_path: Path) -> None:
    mask = np.zeros((10, 20), dtype=np.uint8)
    mask[2:6, 4:8] = 200
    mask[0, 0] = 120  # noise below the threshold
    Image.fromarray(mask).save(tmp_path / "mask.png")
    verdict = _verdict(boxes=((4.0, 2.0, 8.0, 4.0),))
    one = prediction.from_inspection(_sample(mask=tmp_path / "mask.png"), of_verdict(verdict, score=1.0, tokens=3))
    assert one.mask_iou == 0.5
    assert (one.predicted, one.score, one.tokens, one.boxes) == (True, 1.0, 3, verdict.boxes)


def test_a_predicted_mask_counts_where_there_is_one(tmp_path: Path) -> None:
    mask = np.zeros((10, 20), dtype=np.uint8)
    mask[2:6, 4:8] = 200
    Image.fromarray(mask).save(tmp_path / "mask.png")
    found = np.zeros((1, 10, 20), dtype=bool)
    found[0, 2:6, 6:10] = True
    said = of_verdict(_verdict(boxes=((4.0, 2.0, 8.0, 6.0),)), score=1.0)
    sample = _sample(mask=tmp_path / "mask.png")
    assert prediction.from_inspection(sample, said).mask_iou == 1.0
    assert prediction.from_inspection(sample, replace(said, mask=union_rle(found))).mask_iou == 8 / 24
    assert prediction.from_inspection(sample, replace(said, mask=union_rle(found[:0]))).mask_iou == 0.0


def test_an_inspection_gives_its_verdict_back() -> None:
    verdict = replace(_verdict(boxes=((4.0, 2.0, 8.0, 6.0),)), text="x", stages={"think": None}, reasons=("no_think",))
    assert verdict_of(of_verdict(verdict, score=None)) == verdict


def test_an_empty_mask_has_no_iou(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((10, 20), dtype=np.uint8)).save(tmp_path / "mask.png")
    one = prediction.from_inspection(_sample(mask=tmp_path / "mask.png"), of_verdict(_verdict(), score=1.0))
    assert one.mask_iou is None


def test_a_mask_of_another_size_is_named(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((20, 10), dtype=np.uint8)).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match=r"mask\.png"):
        prediction.from_inspection(_sample(mask=tmp_path / "mask.png"), of_verdict(_verdict(), score=1.0))


def _sample(mask: Path) -> Sample:
    return Sample(
        id="one",
        image=Path("one.png"),
        stated_size=(20, 10),
        category="tile",
        anomalous=True,
        mask=MaskFiles((mask,)),
    )


def _verdict(boxes: tuple[tuple[float, float, float, float], ...] = ()) -> Verdict:
    return Verdict(
        text="", stages={}, reasoning_letter=None, answer_letter="a", anomalous=True, boxes_written=boxes, boxes=boxes
    )
