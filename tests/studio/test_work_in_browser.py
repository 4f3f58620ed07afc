"""What a visitor does with words, a mask and a sound, in a real browser; and whether everybody can."""

import json

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image

from multidiff.configuration import compose
from multidiff.training.train import train
from tests.cli.command import PICTURES
from tests.studio import accessibility
from tests.studio.test_browser import CHROMIUM, browser, open_tab, opened, served, themes  # noqa: F401  a fixture

TINY = (
    *("backbone.widths=[8,16]", "backbone.head_size=8", "sampler.steps=5"),
    *("trainer.max_steps=1", "callbacks.previews.every=0"),
)
SOUNDS = (
    *("experiment=audio/drums", "data.count=8", "data.seconds=4.096", "modality.sample_rate=8000", *TINY),
    *("optimizer=adamw", "loader.batch_size=4", "loader.workers=0", "trainer.accelerator=cpu"),
)

OF_GRADIO = {
    "aria-prohibited-attr": ['aria-label="Empty value"'],  # the icon of a component without a value
    "svg-img-alt": ['role="graphics-symbol"'],  # marks of a plot, which has a name as a whole
}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="apt-get install chromium")]


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """Address and folder of a studio with a model of words, one of sounds, a run and a report."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "pictures").mkdir()
    for i, colour in enumerate(("red", "green", "blue", "white") * 2):
        Image.new("RGB", (16, 16), colour).save(folder / "pictures" / f"{i}.png")
        (folder / "pictures" / f"{i}.txt").write_text(f"a {colour} square")
    words = ("data.size=16", "conditioning=text", *TINY)
    for name, settings in {"words": (*PICTURES, f"data.root={folder}/pictures", *words), "sounds": SOUNDS}.items():
        config = compose(settings)
        config.run_dir = str(folder / name)
        train(config)
    (folder / "report.html").write_text("<h1>Scores</h1>")
    options = ("--port", "7875", "--run", "words", "--report", "report.html")
    with served(folder, "words", "sounds", *options) as address:
        yield address, folder


@pytest.fixture
def page(browser, studio, request):  # noqa: F811
    with opened(browser, studio[0], getattr(request, "param", 1280)) as page:
        page.get_by_role("button", name="Generate", exact=True).first.wait_for()
        yield page


def records(folder):
    """The plans in the history, the oldest first."""
    files = sorted((folder / "history" / "results").glob("*/samples.json"), key=lambda file: file.stat().st_mtime)
    return [json.loads(file.read_text()) for file in files]


def finished(page, count, folder):
    """Wait until the history holds ``count`` results, and the page shows the last."""
    for _ in range(600):
        if len(records(folder)) >= count:
            break
        page.wait_for_timeout(100)
    assert len(records(folder)) == count
    page.get_by_text("kept in the history").locator("visible=true").wait_for()


def test_a_visitor_changes_the_wording_and_keeps_the_seed_by_keyboard(page, studio):
    before = len(records(studio[1]))
    prompt = page.get_by_label("Prompt").first
    prompt.click()
    page.keyboard.type("a red square")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    finished(page, before + 1, studio[1])
    page.get_by_label("Keep the seed").first.focus()
    page.keyboard.press("Space")
    prompt.fill("a blue square")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    finished(page, before + 2, studio[1])
    first, second = records(studio[1])[before:]
    assert [record["samples"] for record in (first, second)] == [
        [{"caption": f"a {colour} square"}] for colour in ("red", "blue")
    ]
    assert first["seeds"] == second["seeds"]
    open_tab(page, "History")
    for colour in ("red", "blue"):
        page.locator(".caption-label", has_text=f"a {colour} square").first.wait_for()
    page.get_by_label("Search").fill("blue")
    page.locator(".caption-label", has_text="a red square").first.wait_for(state="detached")


def test_a_visitor_paints_a_mask(page, studio, tmp_path):
    before = len(records(studio[1]))
    given = Image.effect_noise((16, 16), 60).convert("RGB")
    given.save(tmp_path / "noise.png")
    page.get_by_role("button", name="Start from a file").first.click()
    page.get_by_role("button", name="Brush", exact=True).wait_for()
    page.locator("input[type=file][accept='image/*']").first.set_input_files(tmp_path / "noise.png")
    page.get_by_role("button", name="Brush Size").wait_for()
    page.wait_for_timeout(2000)  # the enlarged picture arrives
    canvas = page.locator("canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 9, y + 9, steps=3)
    page.mouse.up()
    page.get_by_label("Regenerate a part of it").check()
    page.get_by_role("button", name="Generate from the file").first.click()
    finished(page, before + 1, studio[1])
    assert records(studio[1])[-1]["edit"]["kind"] == "redo"
    (result,) = {file.parent for file in (studio[1] / "history").rglob("mask.png")}
    mask, made = Image.open(result / "mask.png"), Image.open(result / "00000.png")
    assert 0 < sum(mask.histogram()[1:]) < 16 * 16 / 4
    kept = [(x, y) for x in range(16) for y in range(16) if not mask.getpixel((x, y))]
    assert all(made.getpixel(place) == given.getpixel(place) for place in kept)
    page.reload()
    open_tab(page, "History")
    page.locator(".thumbnail-item").locator("visible=true").first.click()
    page.get_by_role("button", name="Plan").locator("visible=true").click()
    page.get_by_role("button", name="Reproduce and compare").locator("visible=true").click()
    page.get_by_text("equal, byte for byte").locator("visible=true").wait_for()
    page.get_by_role("button", name="Use these settings").locator("visible=true").first.click()
    page.get_by_text("press Generate from the file").locator("visible=true").wait_for()
    page.wait_for_timeout(2000)  # the picture and the mask arrive
    page.get_by_role("button", name="Generate from the file").locator("visible=true").click()
    finished(page, before + 2, studio[1])
    first, again = records(studio[1])[-2:]
    assert again["edit"] == first["edit"]
    assert again["files"] == first["files"]


def test_a_visitor_plays_a_sound(page, studio):
    open_tab(page, "sounds")
    page.get_by_role("button", name="Generate", exact=True).locator("visible=true").click()
    listen(page)
    page.get_by_role("button", name="Play", exact=True).locator("visible=true").wait_for()  # at its end
    open_tab(page, "History")
    page.locator(".thumbnail-item").locator("visible=true").first.click()
    listen(page)


def listen(page):
    """Play the sound that is shown once it is loaded, which its duration tells: a click before that has no effect."""
    page.locator("#duration", has_text="0:04").locator("visible=true").wait_for()
    page.get_by_role("button", name="Play", exact=True).locator("visible=true").click()
    page.get_by_role("button", name="Pause", exact=True).locator("visible=true").wait_for()


def test_a_visitor_who_waits_sees_it_and_stops(page, studio, browser):  # noqa: F811
    before = len(records(studio[1]))
    with opened(browser, studio[0], 1280) as other:
        other.get_by_role("button", name="Sampling settings").first.click()
        for name, value in {"Versions": "64", "Steps": "100", "Batch size": "1"}.items():
            other.get_by_label(f"number input for {name}").first.fill(value)
            other.keyboard.press("Tab")
        other.get_by_role("button", name="Generate", exact=True).first.click()
        other.get_by_text("Denoising").first.wait_for()
        page.get_by_role("button", name="Generate", exact=True).first.click()
        page.get_by_text("Waiting: 1 request is before this one").wait_for()
        page.get_by_role("button", name="Stop", exact=True).first.click()
        page.get_by_text("No result: stopped").first.wait_for()
        other.get_by_role("button", name="Stop", exact=True).first.click()
        other.get_by_text("No result: stopped").first.wait_for()
    assert len(records(studio[1])) == before


def violations(page):
    """What axe-core calls serious, but for two kinds of elements of Gradio that the studio cannot reach."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    serious = [
        (each["id"], node["html"])
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
    return [(rule, html) for rule, html in serious if not any(known in html for known in OF_GRADIO.get(rule, ()))]


@pytest.mark.parametrize("page", [1280, 390], indirect=True)
def test_everybody_can_use_it(page):
    page.add_style_tag(content="* { transition: none !important }")
    for name in ("words", "sounds", "History", "Training", "Reports"):
        open_tab(page, name)
        for closed in page.locator("button.label-wrap:visible").all():
            closed.click()
        for theme in themes(page):
            assert page.evaluate(accessibility.EDGES) == [], (name, theme)
            assert violations(page) == [], (name, theme)
