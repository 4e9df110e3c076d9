"""The page of a run in headless Chromium, clicked through as a user does, from the file system."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_run import CONFIG, draw_sample, fill, predict, write_evaluation
from PIL import Image

from adfm.tracking.html import evaluation, report

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is in the dev extra")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next((found for name in BROWSERS if (found := shutil.which(name))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason=f"no Chromium on PATH ({', '.join(BROWSERS)})"),
]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a finished run: 24 predictions, 4 groups of 8 completions."""
    base = tmp_path_factory.mktemp("pages")
    folder = base / "runs" / "adfm-0a1b2c3d"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")
    fill(folder, base / "images", steps=12, held_out=24)
    return report.write(folder)


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: sync_api.Browser, page_file: Path) -> Iterator[sync_api.Page]:
    """The page, opened; at the end nothing may have failed and nothing may have been asked of a network."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    opened.on(
        "request", lambda request: None if request.url.startswith(("file:", "data:")) else wrong.append(request.url)
    )
    opened.goto(page_file.as_uri())
    yield opened
    context.close()
    assert wrong == []


def shown(page: sync_api.Page) -> list[str]:
    return page.locator("#predictions-0 .card:visible").evaluate_all("cards => cards.map(card => card.ariaLabel)")


def test_filters_leave_what_they_say_and_count_it(page: sync_api.Page) -> None:
    gallery = page.locator("#predictions-0")
    button = gallery.locator("button[data-facet=kind]").first
    kind, count = button.get_attribute("data-value"), int(button.locator(".count").inner_text())
    assert len(shown(page)) == 24
    button.click()
    assert gallery.locator("[data-shown]").inner_text() == str(count) == str(len(shown(page)))
    assert {text for text in gallery.locator(".card:visible .words > h3 .kind").all_text_contents()} == {kind}
    gallery.get_by_label("category", exact=True).select_option("brick")
    bricks = [name for name in shown(page) if name.startswith("brick/")]
    assert shown(page) == bricks
    assert int(button.locator(".count").inner_text()) == len(bricks)
    gallery.get_by_role("button", name="reset").click()
    assert len(shown(page)) == 24


def test_the_reward_range_and_the_search_leave_what_fits(page: sync_api.Page) -> None:
    gallery = page.locator("#predictions-0")
    gallery.get_by_label("least reward").fill("1.5")
    rewards = [float(text) for text in gallery.locator(".card:visible h3 .total").all_text_contents()]
    assert 0 < len(rewards) < 24
    assert min(rewards) >= 1.5
    gallery.get_by_label("least reward").fill("")
    gallery.get_by_label("search the text").fill("GRASS/0001")
    assert shown(page) == ["grass/0001"]
    gallery.get_by_label("search the text").fill("no such word")
    assert shown(page) == []
    assert gallery.get_by_role("status").inner_text().startswith("0 of 24 images")


def test_cards_are_sorted(page: sync_api.Page) -> None:
    gallery = page.locator("#predictions-0")
    gallery.get_by_label("order").select_option("by name")
    assert shown(page) == sorted(shown(page))
    gallery.get_by_label("order").select_option("highest reward")
    rewards = [float(text) for text in gallery.locator(".card:visible h3 .total").all_text_contents()]
    assert rewards == sorted(rewards, reverse=True)
    assert len(set(rewards)) > 1


def test_layers_go_and_come_back_everywhere_and_on_one_card(page: sync_api.Page) -> None:
    gallery = page.locator("#predictions-0")
    for layer, name in {"true-box": "true boxes", "true-mask": "true mask", "mask": "predicted mask"}.items():
        assert gallery.locator(f".look .{layer}:visible").count() > 0
        gallery.locator(".bar").get_by_role("button", name=name).click()
        assert gallery.locator(f".look rect.{layer}:visible, .look image.{layer}:visible").count() == 0
        gallery.locator(".bar").get_by_role("button", name=name).click()
        assert gallery.locator(f".look rect.{layer}:visible, .look image.{layer}:visible").count() > 0
    card = gallery.locator(".card:has(.look rect.box)").first
    before = gallery.locator(".look rect.box:visible").count()
    card.locator(".switches [data-layer=box]").click()
    assert card.locator(".look rect.box:visible").count() == 0
    assert card.locator(".switches [data-layer=box]").get_attribute("aria-pressed") == "false"
    assert 0 < gallery.locator(".look rect.box:visible").count() < before


def test_a_sample_opens_goes_on_and_closes_by_keyboard(page: sync_api.Page) -> None:
    names = shown(page)
    page.locator("#predictions-0 .open").first.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    assert dialog.get_attribute("aria-label") == names[0]
    assert dialog.locator(".head .count").inner_text() == "1 of 24"
    dialog.locator(".look image.whole").wait_for()  # the file itself, in place of the small picture
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert dialog.get_attribute("aria-label") == names[1]
    assert dialog.evaluate("dialog => dialog.contains(document.activeElement)")
    link = dialog.locator(".look + .words a.full").get_attribute("href")
    assert link is not None
    assert page.evaluate("link => new URL(link, location).protocol", link) == "file:"
    page.keyboard.press("Escape")
    assert page.get_by_role("dialog").count() == 0
    assert page.evaluate("document.activeElement.closest('.card').ariaLabel") == names[1]


def test_pointing_at_a_box_lights_up_the_text_that_names_it_and_back(page: sync_api.Page) -> None:
    card = page.locator("#predictions-0 .card:has(.look rect.box):has(.words > .said .names)").first
    box, names = card.locator(".look rect.box").first, card.locator(".words > .said .names").first
    card.evaluate("card => card.scrollIntoView({ block: 'center' })")
    box.hover(force=True)
    assert "lit" in (names.get_attribute("class") or "").split()
    page.mouse.move(0, 0)
    assert "lit" not in (names.get_attribute("class") or "").split()
    names.hover()
    assert "lit" in (box.get_attribute("class") or "").split()
    lit = page.locator(".lit").evaluate_all("found => found.map(one => one.closest('.card').ariaLabel)")
    assert set(lit) == {card.get_attribute("aria-label")}
    card.locator(".open").click()
    dialog = page.get_by_role("dialog")
    dialog.locator(".words > .said .names").first.focus()
    assert dialog.locator(".look rect.box.lit").count() == 1


def test_a_group_stands_side_by_side_and_draws_open(page: sync_api.Page) -> None:
    groups = page.locator("#completions .card")
    assert groups.count() == 4
    tops = groups.first.locator(".one").evaluate_all("ones => ones.map(one => one.getBoundingClientRect().top)")
    assert len(tops) == 8
    assert len(set(tops)) == 1
    page.locator("#predictions-0 .open").first.click()
    assert page.get_by_role("dialog").locator(".draws .one:visible").count() == 3


def test_a_chart_says_its_values_to_pointer_and_keys(page: sync_api.Page) -> None:
    figure = page.locator("#curves figure").first
    chart, output = figure.locator("svg.chart"), figure.locator("output")
    resting = output.inner_text()
    chart.hover()
    assert ": " in output.inner_text()
    page.mouse.move(0, 0)
    assert output.inner_text() == resting
    chart.focus()
    page.keyboard.press("Home")
    assert output.inner_text().startswith("1: ")
    page.keyboard.press("ArrowRight")
    assert output.inner_text().startswith("2: ")
    page.keyboard.press("End")
    assert output.inner_text().startswith("12: ")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_scrolling_to_the_side_and_words_are_legible(
    browser: sync_api.Browser, page_file: Path, scheme: str
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for selector in (".lead", ".card .what", ".said i", ".panel figcaption span", "button", ".facts dt"):
        assert contrast(page.locator(selector).first) >= 4.5, selector
    context.close()


def contrast(element: sync_api.Locator) -> float:
    """The contrast of an element's text with what is behind it, as WCAG 2 defines it."""
    colours = element.evaluate(
        """element => {
          let behind = element;
          while (/, 0\\)$|transparent/.test(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;
          return [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
        }"""
    )
    light, dark = sorted((luminance(colour) for colour in colours), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)`."""
    channels = [float(value) / 255 for value in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_contrast_is_computed_as_wcag_does() -> None:
    assert luminance("rgb(255, 255, 255)") == pytest.approx(1)
    assert luminance("rgb(119, 119, 119)") == pytest.approx(0.1845, abs=1e-4)  # 4.48 on white


def test_500_noisy_pictures_stay_below_20_mb(browser: sync_api.Browser, tmp_path: Path) -> None:
    rng = random.Random(0)
    first = [draw_sample(tmp_path / "images", number, rng) for number in range(20)]
    predictions = [predict(sample, rng, 0.8) for sample in first]
    noise = np.random.default_rng(0)
    many = []
    for number in range(500):
        path = tmp_path / "images" / f"noise_{number}.jpg"
        Image.fromarray(noise.integers(0, 256, (400, 400, 3), dtype=np.uint8)).save(path, quality=90)
        one = predictions[number % 20]
        many.append(replace(one, id=f"{number}", image=str(path)))
    write_evaluation(tmp_path / "eval" / "noise", many)
    file = evaluation.write(tmp_path / "eval" / "noise")
    assert file.stat().st_size < 20_000_000
    page = browser.new_page()
    page.goto(file.as_uri())
    assert page.locator(".card").count() == 500
    page.locator("button[data-facet=kind]").first.click()
    assert 0 < page.locator(".card:visible").count() < 500
    page.close()
