"""The 3D viewer in a real browser."""

import pytest
from PIL import Image, ImageStat

from multidiff.configuration import compose
from multidiff.training.train import train
from tests.studio.test_browser import CHROMIUM, browser, served  # noqa: F401  a fixture

TINY_SHAPES = (
    *("experiment=shape/furniture", "data.count=16", "data.points=64", "data.stored=128", "backbone.width=8"),
    *("backbone.latents=4", "backbone.latent_width=8", "backbone.head_size=8", "loader.batch_size=4"),
    *("trainer.max_steps=2", "trainer.accelerator=cpu", "optimizer=adamw", "callbacks.previews.every=0"),
)
EVEN = 2.0
"""Standard deviation of the gray levels of a view without a shape, at most."""


@pytest.fixture
def address(tmp_path):
    config = compose(TINY_SHAPES)
    config.run_dir = str(tmp_path / "shapes")
    train(config)
    with served(tmp_path, "shapes", "--port", "7872") as address:
        yield address


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="apt-get install chromium")
def test_the_first_shape_of_a_visit_is_drawn(address, browser, tmp_path):  # noqa: F811
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(60_000)
    page.goto(address)
    page.get_by_role("button", name="Generate", exact=True).click()
    page.get_by_text("kept in the history").first.wait_for()
    view = page.locator("canvas").first
    view.wait_for()

    def spread():
        view.screenshot(path=tmp_path / "view.png")
        shown = Image.open(tmp_path / "view.png").convert("L")
        middle = (shown.width // 4, shown.height // 4, 3 * shown.width // 4, 3 * shown.height // 4)  # no label
        return ImageStat.Stat(shown.crop(middle)).stddev[0]

    for _ in range(20):
        if spread() > EVEN:
            break
        page.wait_for_timeout(1000)
    assert spread() > EVEN
    page.close()
