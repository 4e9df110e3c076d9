import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from elements import Elements, columns, kinds
from fake_run import write_evaluation

from adfm import report as command
from adfm.errors import ConfigError
from adfm.evaluation.prediction import Prediction
from adfm.tracking.html import report


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
    assert len(elements.of("article")) == 24 + 4
    assert columns(elements)[:4] == ["before", "after", "change", "always normal"]


def test_the_command_says_what_another_run_was_asked(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "runs" / "other-1"
    other.mkdir()
    (other / "config.yaml").write_text((run_folder / "config.yaml").read_text().replace("seed: 0", "seed: 3"))
    monkeypatch.setattr(sys, "argv", ["adfm.report", f"run={run_folder}", f"against={other}"])
    command.main()
    assert capsys.readouterr().out == f"{run_folder / 'report.html'}\n"
    assert "Config: difference from other-1" in (run_folder / "report.html").read_text(encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["adfm.report", f"study={tmp_path}", f"against={other}"])
    with pytest.raises(SystemExit):
        command.main()
    assert "against: goes with the page of a run" in capsys.readouterr().err


def test_alarms_stand_near_the_top_the_newest_first(run_folder: Path) -> None:
    assert "Alarms" not in page_of(run_folder)
    seen = {"alarm": "low_entropy", "since": 3, "seen": "entropy 0.010, bound <0.05>"}
    lines = [
        {"time": 1.5, "step": 7, "state": "ringing", "advice": "a lower model.learning_rate", **seen},
        {"time": 2.5, "step": 9, "state": "recovered", "advice": "", **seen, "seen": "entropy 0.200", "since": 9},
    ]
    (run_folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = page_of(run_folder)
    shown = re.sub(
        r"\s+", " ", re.sub("<[^>]*>", "", page[page.index('<section id="alarms">') :].split("</section>")[0])
    )
    assert shown.strip() == (
        "Alarms events.jsonl, the newest first "
        "low_entropy recovered at step 9: entropy 0.200, since step 9. "
        "low_entropy ringing at step 7: entropy 0.010, bound &lt;0.05&gt;, since step 3. "
        "Try: a lower model.learning_rate"
    )
    assert page.index('id="alarms"') < page.index('id="curves"')


def test_many_alarms_are_counted(run_folder: Path) -> None:
    line = {"time": 0.0, "alarm": "no_spread", "state": "ringing", "since": 1, "seen": "x", "advice": "y"}
    rows = "".join(json.dumps({**line, "step": step}) + "\n" for step in range(1, 16))
    (run_folder / "events.jsonl").write_text(rows)
    page = page_of(run_folder)
    assert page.count("no_spread</b>") == report.MOST_EVENTS == 12
    assert "at step 15:" in page
    assert "at step 3:" not in page
    assert "3 earlier ones are in the file" in page


def test_all_completions_of_a_prompt_stand_side_by_side(finished: Path) -> None:
    groups = [found for found in Elements(page_of(finished)).of("article") if "group" in str(found["class"]).split()]
    assert len(groups) == 4
    page = page_of(finished)
    assert page.count('aria-label="8 completions about') == 4
    assert page.count('aria-label="3 completions about') == 24  # draws of a prediction


def test_a_picture_that_many_cards_show_is_there_once(finished: Path) -> None:
    elements = Elements(page_of(finished))
    jpegs = [found for found in elements.of("image") if (found["href"] or "").startswith("data:image/jpeg")]
    assert len(jpegs) == 24 + 4
    uses = {(found["href"] or "").removeprefix("#") for found in elements.of("use")}
    assert uses == {found["id"] for found in jpegs}


def test_the_page_is_one_file_that_loads_nothing(finished: Path) -> None:
    page = page_of(finished)
    addresses = [value for _, found in Elements(page).found for name, value in found.items() if name in ("src", "href")]
    inside = ("data:image/jpeg;base64,", "data:image/png;base64,", "#")
    outside = {value for value in addresses if not (value or "").startswith(inside)}
    assert outside == {found["href"] for found in Elements(page).of("a", class_="full")}
    assert all((finished / str(value)).is_file() for value in outside)
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
    assert json.loads(elements.of("article")[0]["data-card"] or "")["id"] in (text, "2")


def test_only_the_pages_own_script_may_run(run_folder: Path) -> None:
    (policy,) = [found["content"] for _, found in Elements(page_of(run_folder)).found if "http-equiv" in found]
    assert re.search(r"default-src 'none';.* script-src 'sha256-[A-Za-z0-9+/]{43}=';", policy or "")
    assert "http" not in (policy or "")


def test_boxes_are_drawn_in_the_pixels_of_the_original(run_folder: Path) -> None:
    write_evaluation(run_folder / "eval" / "mine", [one()])
    elements = Elements(page_of(run_folder))
    (overlay,) = elements.of("svg", class_="overlay")
    assert overlay["viewbox"] == "0 0 600 300"
    (true,), (predicted,) = elements.of("rect", class_="true-box"), elements.of("rect", class_="box")
    assert [true[name] for name in ("x", "y", "width", "height")] == ["10", "20", "100", "50"]
    assert [predicted[name] for name in ("x", "y", "width", "height")] == ["12.5", "20", "99.75", "60"]


def test_a_small_picture_fills_the_frame_of_the_original(finished: Path) -> None:
    elements = Elements(page_of(finished))
    picture = next(found for found in elements.of("image") if "jpeg" in (found["href"] or ""))
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
    assert kinds(Elements(page_of(run_folder))) == ["unread", "miss", "false alarm", "bad box", "right", "right"]


def test_no_box_is_bad_where_the_template_asks_for_none(run_folder: Path) -> None:
    write_evaluation(run_folder / "eval" / "mine", [one(boxes=()), one(id="2", boxes=())])
    assert kinds(Elements(page_of(run_folder))) == ["right", "right"]


def test_runs_without_pairs_have_no_change_column(run_folder: Path) -> None:
    write_evaluation(
        run_folder / "eval" / "before" / "mine", [one(id="a"), one(id="b", anomalous=False, true_boxes=())]
    )
    write_evaluation(run_folder / "eval" / "mine", [one(id="c"), one(id="d", anomalous=False, true_boxes=())])
    heads = columns(Elements(page_of(run_folder)))
    assert heads[:3] == ["before", "after", "always normal"]
    assert "change" not in heads


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
