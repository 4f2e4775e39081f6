"""What a visitor does. With DEMASK_SHOTS=FOLDER, what the visitor sees is kept there."""

import base64
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

PROMPT = "#{}-prompt textarea, #{}-prompt input"
SEEDS = "#paint-seeds textarea, #paint-seeds input"
DONE = "#{} [data-state=done]"
WATCH = """() => {
  window.seen = new Set();
  new MutationObserver(() => {
    const tile = document.querySelector("#paint-stage .dm-tile");
    if (tile) window.seen.add(tile.getAttribute("style"));
  }).observe(document.body, {subtree: true, childList: true, attributes: true});
}"""


def fill(page, place, text):
    page.fill(PROMPT.format(place, place), text)


def shoot(page, name):
    folder = os.environ.get("DEMASK_SHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png")


def pixels(page, selector):
    """The pixels of an image in the page, (Y, X, 4)."""
    source = page.locator(selector).first.get_attribute("src")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))


def paint(page, text, seeds=""):
    fill(page, "paint", text)
    if seeds:
        page.fill(SEEDS, seeds)
    page.keyboard.press("Enter")


def test_a_prompt_appears_token_by_token_and_gives_its_settings_back(opened, served, tmp_path):
    page = opened()
    shoot(page, "empty")
    page.evaluate(WATCH)
    paint(page, "rocket", "5-5")
    page.wait_for_selector(DONE.format("paint-stage"))
    seen = page.evaluate("() => [...window.seen]")
    assert len(seen) > 2, seen
    shoot(page, "painted")
    with page.expect_download() as waiting:
        page.click("#paint-stage a[download]")
    file = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(file)
    shown = served.engine.generators["emoji"].generate("rocket", seed=5)[0]
    with Image.open(file) as image:
        assert image.text["prompt"] == "rocket"
        assert image.tobytes() == shown.image.tobytes()

    page = opened()
    page.set_input_files("#drop input[type=file]", file)
    page.wait_for_function(f"() => document.querySelector('{SEEDS}').value == '5'")
    assert page.input_value(PROMPT.format("paint", "paint")) == "rocket"
    page.click("#paint-go")
    page.wait_for_selector(DONE.format("paint-stage"))
    page.set_input_files("#drop input[type=file]", Path(__file__))
    page.wait_for_selector("text=This is no PNG")


def test_an_example_generates_on_the_first_click_and_stop_stops(opened, served):
    page = opened(390, 844, "dark", is_mobile=True, has_touch=True)
    page.tap("#paint-examples .dm-chip >> nth=0")
    page.wait_for_selector("#paint-stage .dm-stop:visible")
    page.tap("#paint-stage .dm-stop")
    page.wait_for_selector("#paint-stage [data-state=stopped], #paint-stage [data-state=done]")
    page.tap("#paint-examples .dm-chip >> nth=2")
    page.wait_for_selector(DONE.format("paint-stage"))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    drawn = page.locator("#paint-stage img").first
    assert drawn.evaluate("e => getComputedStyle(e).imageRendering") == "pixelated"
    shoot(page, "phone")


def test_a_part_is_generated_anew_and_an_edge_is_dragged_outward(opened):
    page = opened()
    page.click("button[role=tab]:has-text('Change')")
    page.wait_for_selector("#canvas canvas:visible")
    page.click("[data-tool=clear]")
    page.locator("#canvas canvas").focus()
    for key in ("ArrowRight", "ArrowDown", "Space"):
        page.keyboard.press(key)
    assert "5 tokens" in page.locator("#canvas canvas").get_attribute("aria-label")
    edge = page.locator(".dm-edge[data-side=right]")
    box = edge.bounding_box()
    page.mouse.move(box["x"] + 16, box["y"] + 16)
    page.mouse.down()
    page.mouse.move(box["x"] + 100, box["y"] + 16, steps=3)
    page.mouse.up()
    assert int(edge.get_attribute("aria-valuenow")) >= 16
    shoot(page, "change")
    fill(page, "change", "green apple")
    page.click("#change-go")
    page.wait_for_selector(DONE.format("change-stage"))
    after = pixels(page, "#change-stage img")
    assert after.shape[0] == 64
    assert after.shape[1] == 64 + int(edge.get_attribute("aria-valuenow"))
    shoot(page, "changed")


def test_two_settings_generate_the_same_seeds(opened):
    page = opened(scheme="dark")
    page.click("button[role=tab]:has-text('Compare')")
    page.click("#model label:has-text('cifar10')")
    page.click("#compare-classes label:has-text('ship')")
    page.click("#compare-go")
    for side in ("compare-A", "compare-B"):
        page.wait_for_selector(DONE.format(side) + " >> nth=3")
    labels = [page.locator(f"#compare-{s} .dm-label").all_text_contents() for s in "AB"]
    assert labels[0] == labels[1]
    assert len(set(labels[0])) == 4
    assert (pixels(page, "#compare-A img") != pixels(page, "#compare-B img")).any()
    page.click(".dm-thumb >> nth=0")
    page.wait_for_selector("dialog[open] >> text=ship")
    page.keyboard.press("Escape")
    shoot(page, "compared")


def test_a_mistake_is_told_where_it_is_seen(opened):
    page = opened()
    paint(page, "rocket", "seven")
    page.wait_for_selector("#paint-stage [role=alert]:has-text('not \\'seven\\'')")
