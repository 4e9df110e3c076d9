import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fake_run import write_evaluation

from adfm.errors import ConfigError
from adfm.evaluation.prediction import Prediction
from adfm.tracking.html import report


class Elements(HTMLParser):
    """Every element of a page with its attributes, as a browser reads it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def of(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [found for name, found in self.found if name == tag and wanted.items() <= found.items()]


def page_of(folder: Path) -> str:
    return report.write(folder).read_text(encoding="utf-8")


def one(**changes: object) -> Prediction:
    """Make a prediction about a picture that is 600 x 300 pixels large."""
    plain = Prediction(
        id="bolt/7",
        image="gone.png",
        category="bolt",
        anomalous=True,
        defect_type="scratch",
        width=600,
        height=300,
        true_boxes=((10.0, 20.0, 110.0, 70.0),),
        predicted=True,
        score=1.5,
        boxes=((12.5, 20.0, 112.25, 80.0),),
        text="<answer>a</answer>",
        stages={"think": "a scratch", "rethink": None, "answer": "a"},
    )
    return replace(plain, **changes)


def test_a_finished_run_shows_everything(finished: Path) -> None:
    page = page_of(finished)
    assert "complete, 12 steps" in page
    for title in (
        "Results on synthetic",
        "Groups without spread",
        "KL to the reference",
        "Change since the start",
        "By category",
    ):
        assert title in page
    elements = Elements(page)
    assert len(elements.of("article")) == 24 + 4 * 8
    assert len(elements.of("image")) == 24 + 4 * 8
    assert "before</th><th>after</th><th>change</th><th>always normal</th>" in page


def test_the_page_is_one_file_that_loads_nothing(finished: Path) -> None:
    page = page_of(finished)
    addresses = [value for _, found in Elements(page).found for name, value in found.items() if name in ("src", "href")]
    assert all((value or "").startswith(("data:image/jpeg;base64,", "#")) for value in addresses)
    assert not re.findall(r"url\(|@import|fetch\(|XMLHttpRequest", page)


def test_a_run_in_progress_has_a_page(finished: Path) -> None:
    for path in ("eval", "env.json", "completed.json"):
        _remove(finished / path)
    page = page_of(finished)
    assert "step 12 of 40" in page
    assert "Completions of step 10" in page
    assert "Results on" not in page


def test_a_run_that_has_not_begun_has_a_page(run_folder: Path) -> None:
    page = page_of(run_folder)
    assert "step 0 of 40" in page
    assert "No step has been logged yet." in page


def test_a_run_with_its_first_step_has_a_page(run_folder: Path) -> None:
    (run_folder / "metrics.jsonl").write_text(
        '{"step": 1, "reward/total_mean": 0.0, "kl": null, "loss": 0.0}\n{"step": 2'
    )
    assert "step 1 of 40" in page_of(run_folder)


def test_no_run_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a run folder"):
        report.write(tmp_path)


@pytest.mark.parametrize(
    "text", ['<script>alert("x")</script>', '"><img src=x onerror=alert(1)>', "</svg></style><b>", "{{ 7 * 7 }}"]
)
def test_what_a_model_writes_is_only_text(run_folder: Path, text: str) -> None:
    everywhere = {"id": text, "category": text, "defect_type": text, "text": text, "reasons": (text,)}
    predictions = [one(**everywhere, stages={"think": text, text: text}), one(id="2", text=text, stages={})]
    write_evaluation(run_folder / "eval" / "mine", predictions)
    elements = Elements(page_of(run_folder))
    assert len(elements.of("script")) == 1
    assert not elements.of("img")
    assert not [found for _, found in elements.found if any(name.startswith("on") for name in found)]
    assert elements.of("article")[0]["data-group"] == text


def test_only_the_pages_own_script_may_run(run_folder: Path) -> None:
    (policy,) = [found["content"] for _, found in Elements(page_of(run_folder)).found if "http-equiv" in found]
    assert re.fullmatch(r"default-src 'none'; .*script-src 'sha256-[A-Za-z0-9+/]{43}='", policy or "")


def test_boxes_are_drawn_in_the_pixels_of_the_original(run_folder: Path) -> None:
    write_evaluation(run_folder / "eval" / "mine", [one()])
    elements = Elements(page_of(run_folder))
    (overlay,) = elements.of("svg", class_="overlay")
    assert overlay["viewbox"] == "0 0 600 300"
    (true,), (predicted,) = elements.of("rect", class_="true"), elements.of("rect", class_="predicted")
    assert [true[name] for name in ("x", "y", "width", "height")] == ["10", "20", "100", "50"]
    assert [predicted[name] for name in ("x", "y", "width", "height")] == ["12.5", "20", "99.75", "60"]


def test_a_small_picture_fills_the_frame_of_the_original(finished: Path) -> None:
    elements = Elements(page_of(finished))
    picture = elements.of("image")[0]
    assert (picture["width"], picture["height"], picture["preserveaspectratio"]) == ("112", "112", "none")


def test_kinds_are_told_apart_and_failures_come_first(run_folder: Path) -> None:
    normal = {"anomalous": False, "defect_type": None, "true_boxes": ()}
    write_evaluation(
        run_folder / "eval" / "mine",
        [
            one(id="right"),
            one(id="right normal", **normal, predicted=False, boxes=()),
            one(id="false alarm", **normal),
            one(id="miss", predicted=False, boxes=()),
            one(id="bad box", boxes=((500.0, 200.0, 550.0, 250.0),)),
            one(id="unread", predicted=None, boxes=()),
        ],
    )
    kinds = [found["data-kind"] for found in Elements(page_of(run_folder)).of("article")]
    assert kinds == ["unread", "miss", "false alarm", "bad box", "right", "right"]


def test_no_box_is_bad_where_the_template_asks_for_none(run_folder: Path) -> None:
    write_evaluation(run_folder / "eval" / "mine", [one(boxes=()), one(id="2", boxes=())])
    assert [found["data-kind"] for found in Elements(page_of(run_folder)).of("article")] == ["right", "right"]


def test_runs_without_pairs_have_no_change_column(run_folder: Path) -> None:
    write_evaluation(
        run_folder / "eval" / "before" / "mine", [one(id="a"), one(id="b", anomalous=False, true_boxes=())]
    )
    write_evaluation(run_folder / "eval" / "mine", [one(id="c"), one(id="d", anomalous=False, true_boxes=())])
    page = page_of(run_folder)
    assert "before</th><th>after</th><th>always normal</th></tr>" in page


def test_thousands_of_steps_stay_small(run_folder: Path) -> None:
    lines = [json.dumps({"step": step, "reward/total_mean": 1.0, "reward/total_std": 0.1}) for step in range(1, 20001)]
    (run_folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert report.write(run_folder).stat().st_size < 150_000


def _remove(path: Path) -> None:
    if path.is_dir():
        for child in path.iterdir():
            _remove(child)
        path.rmdir()
    else:
        path.unlink()
