from __future__ import annotations

from dataclasses import replace

from evaluation_support import predicted

from adfm.evaluation import metrics, tables


def test_before_and_after_stand_side_by_side() -> None:
    before = {"auroc": {"value": 0.5, "low": 0.25, "high": 0.75}, "box_iou": {"value": None, "reason": "none"}}
    after = {"auroc": {"value": 0.75}, "box_iou": {"value": None, "reason": "none"}}
    change = {"auroc": {"value": 0.25}}
    assert tables.comparison({"before": before, "after": after, "change": change}).splitlines() == [
        "| metric | before               | after | change |",
        "| ------ | -------------------- | ----- | ------ |",
        "| AUROC  | 0.500 [0.250, 0.750] | 0.750 | 0.250  |",
        "",
        "Not defined: box-mask IoU (none).",
    ]


def test_what_is_not_defined_is_listed_once_by_its_reason() -> None:
    found = metrics.table([predicted(i, True, True, named_type="crack") for i in range(2)], resamples=20)["overall"]
    text = tables.comparison({"before": found, "after": found})
    assert text.count("AUROC,") == 1
    assert "average precision, overkill" in text.replace("\n", " ")
    assert "(no normal sample)" in text.replace("\n", " ")
    assert "| types and text " in text
    assert "| masks and pixels " not in text
    assert "| defect type named rightly " in text


def test_the_ranking_of_boxes_is_named() -> None:
    box = ((0.0, 0.0, 10.0, 10.0),)
    one = predicted(0, True, True, true_boxes=box, boxes=box)
    for confidences, by in (((), "anomaly score of the image"), ((0.5,), "confidence of the box")):
        found = metrics.table([replace(one, confidences=confidences)], resamples=0)["overall"]
        assert tables.comparison({"model": found}).endswith(f"Box AP ranks boxes by: {by}.")


def test_tables_fit_120_characters() -> None:
    box = ((1.0, 1.0, 8.0, 8.0),)
    everything = [
        predicted(i, i % 2 == 1, i % 3 != 0, float(i), probability=i / 40, boxes=box, confidences=(i / 40,))
        for i in range(40)
    ]
    placed = [replace(one, true_boxes=box, mask_iou=0.5) if one.anomalous else one for one in everything]
    placed = [replace(one, category=f"category {i // 20}") for i, one in enumerate(placed)]
    found = metrics.table(placed, resamples=20)
    sides = dict.fromkeys(("before", "after", "change"), found["overall"])
    text = [tables.comparison(sides), tables.groups("category", found["category"])]
    text.append(tables.baselines({"score at val threshold": found["overall"]}))
    assert max(len(line) for part in text for line in part.splitlines()) <= tables.WIDTH


def test_baselines_are_rows_without_intervals() -> None:
    found = metrics.table([predicted(i, i % 2 == 1, True, float(i)) for i in range(4)], resamples=20)["overall"]
    header, _, row = tables.baselines({"always_anomalous": found}).splitlines()
    assert [name.strip() for name in header.split("|")[2:4]] == ["balanced accuracy", "F1-max"]
    assert [value.strip() for value in row.split("|")[1:5]] == ["always_anomalous", "0.500", "0.800", "0.750"]


def test_groups_show_the_main_metrics() -> None:
    found = metrics.table([predicted(i, i % 2 == 1, True, category=f"c{i // 2}") for i in range(4)], resamples=0)
    lines = tables.groups("category", found["category"]).splitlines()
    assert lines[0].split("|")[1:6] == [" category ", " balanced accuracy ", " AUROC ", " overkill ", " miss  "]
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["c0", "c1"]


def test_every_metric_has_a_name() -> None:
    assert set(metrics.table([predicted(0, True, True)], resamples=0)["overall"]) == set(tables.SHOWN)
    assert set(tables.MAIN) <= set(tables.SHOWN)


def test_the_caption_says_synthetic() -> None:
    facts = {"dataset": "tiles", "synthetic": True, "split": "test", "score": "answer"}
    counts = {"images": 8, "samples": 9, "anomalous": 4}
    assert tables.caption(facts | counts) == (
        "tiles (synthetic), test part: 8 images, 4 of 9 samples anomalous; score=answer; "
        "in brackets 95% intervals over images"
    )
    assert "synthetic" not in tables.caption(facts | counts | {"synthetic": False})
