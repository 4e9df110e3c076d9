from __future__ import annotations

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
    ]


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
