from __future__ import annotations

from dataclasses import replace

import pytest

from adfm.reasoning.frames import IdentityFrame
from adfm.rewards.examples import judged
from adfm.rewards.fine_grained import Classification, Format
from adfm.rewards.localization import Localization, generalized_iou

BOX = (10.0, 10.0, 30.0, 30.0)
FAR = (80.0, 80.0, 90.0, 90.0)


@pytest.mark.parametrize(
    ("said", "letter", "pays"),
    [
        ("a", "a", 1.0),
        ("a.", None, 0.8),
        ("abnormal", None, 0.8),
        ("a very long one", None, 0.0),
        ("c", None, 0.0),
        (None, None, 0.0),
    ],
)
def test_classification_pays_the_letter_and_short_answers_that_contain_it(said, letter, pays):
    assert Classification()(*judged(stages={"answer": said}, answer=letter, key="a")) == pays


def test_generalized_iou_by_hand():
    # 20 x 20 boxes shifted by 10: overlap 200, union 600, hull 30 x 20 = 600
    assert generalized_iou([BOX], [(20.0, 10.0, 40.0, 30.0)])[0, 0] == pytest.approx(200 / 600)
    # apart: union 400 + 100, hull 80 x 80
    assert generalized_iou([BOX], [FAR])[0, 0] == pytest.approx(-(6400 - 500) / 6400)
    assert generalized_iou([(30.0, 30.0, 10.0, 10.0)], [BOX])[0, 0] == 0.0


@pytest.mark.parametrize(
    ("found", "true", "raw"),
    [
        ([BOX], [BOX], 1.3),
        ([BOX, FAR], [BOX, FAR], 1.3),
        ([BOX, FAR], [BOX], 0.5 + 0.15),
        ([BOX], [BOX, FAR], 1 + 0.15),
        ([BOX, FAR, (50.0, 50.0, 60.0, 60.0)], [BOX], 1 / 3 - 0.03),
        ([FAR], [BOX], -5900 / 6400 + 0.3),
    ],
)
def test_localization_by_hand(found, true, raw):
    example = judged(boxes=found, true=true)
    assert Localization()(*example) == pytest.approx(min(1, max(0, (raw + 0.5) / 1.5)))
    assert Localization(normalization="clipped")(*example) == pytest.approx(min(1, max(0, raw)))


def test_localization_of_nothing():
    assert Localization()(*judged(true=[BOX])) == 0.0
    for number, pays in ((0, 0.0), (1, 0.5), (2, -0.1), (3, -0.1)):
        assert Localization()(*judged(boxes=[BOX] * number, anomalous=False)) == pays
        assert Localization()(*judged(boxes=[BOX] * number, anomalous=True)) == pays
        assert Localization(unlabelled=0.2)(*judged(boxes=[BOX] * number, anomalous=True)) == 0.2
        assert Localization(unlabelled=0.2)(*judged(boxes=[BOX] * number, anomalous=False)) == pays


def test_a_missed_box_can_count_in_the_mean():
    missed = judged(boxes=[BOX], true=[BOX, FAR])
    assert Localization(normalization="clipped")(*missed) == 1.0
    assert Localization(normalization="clipped", mean_over="larger")(*missed) == pytest.approx(0.65)


LONG = "eleven chars and more"


@pytest.mark.parametrize(
    ("stages", "letter", "boxes", "reasons", "pays"),
    [
        ({"think": LONG, "rethink": LONG, "answer": "a"}, "a", [BOX], (), 1.2),
        ({"think": LONG, "rethink": LONG, "answer": "a"}, "a", [], (), 0.9),
        ({"think": LONG, "rethink": LONG, "answer": "a"}, "a", [], ("bad_box",), 1.0),
        ({"think": LONG, "rethink": LONG, "answer": "a"}, "a", [(1.0, 1.0, 600.0, 2.0)], (), 1.1),
        ({"think": "short", "rethink": "short", "answer": "maybe"}, None, [], (), 0.6),
        ({"think": None, "rethink": "", "answer": "no"}, None, [], (), 0.0),
        ({"think": None, "rethink": None, "answer": "a"}, "a", [], ("no_answer",), 0.0),
        ({"think": LONG, "answer": "a"}, "a", [BOX], (), 1.2),
    ],
)
def test_format_adds_its_parts(stages, letter, boxes, reasons, pays):
    verdict, prompt = judged(stages=stages, answer=letter, boxes=boxes)
    assert Format()(replace(verdict, reasons=reasons), prompt) == pytest.approx(pays)


def test_the_coordinate_limit_is_that_of_the_released_frame_or_the_frames_size():
    def pays(side: float, corner: float, limit: float | None) -> float:
        verdict, prompt = judged(stages={"think": "", "answer": None}, boxes=[(0.0, 0.0, corner, corner)])
        return Format(coordinate_limit=limit)(verdict, replace(prompt, frame=IdentityFrame(width=side, height=side)))

    assert [pays(512.0, corner, 505) for corner in (504.9, 505.0, 512.0)] == pytest.approx([0.3, 0.2, 0.2])
    assert [pays(512.0, corner, None) for corner in (505.0, 512.0, 513.0)] == pytest.approx([0.3, 0.3, 0.2])
    assert [pays(1000.0, corner, 505) for corner in (505.0, 1000.0, 1001.0)] == pytest.approx([0.3, 0.3, 0.2])
    assert [pays(112.0, corner, 505) for corner in (112.0, 113.0)] == pytest.approx([0.3, 0.2])


def test_format_needs_boxes_only_if_it_pays_them():
    assert Format().needs == {"think", "answer", "boxes"}
    assert Format(box=0, box_inside=0, brackets=0).needs == {"think", "answer"}
