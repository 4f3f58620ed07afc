"""The 3D viewer in a real browser."""

from io import BytesIO

import pytest
from PIL import Image, ImageChops, ImageStat

from tests.studio.test_browser import CHROMIUM, browser, generate, opened, served  # noqa: F401  a fixture

EVEN = 2.0
"""Standard deviation of the gray levels of a view without a shape, at most."""


pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="apt-get install chromium")]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A studio of a trained model, whose samples have surfaces whatever the seed."""
    with served(tmp_path_factory.mktemp("shapes"), "furniture", "--port", "7872") as address:
        yield address


@pytest.fixture
def page(browser, address):  # noqa: F811
    with opened(browser, address, 1280) as page:
        yield page


class View:
    """The first 3D viewer of a page, after it has rendered its mesh."""

    def __init__(self, page):
        self.canvas = page.locator("canvas").first
        self.canvas.wait_for()
        for _ in range(20):
            if self.is_drawn and self.picture() == self.picture():
                break
            page.wait_for_timeout(1000)

    def picture(self):
        """The middle of the view in gray levels, without its label."""
        shown = Image.open(BytesIO(self.canvas.screenshot())).convert("L")
        return shown.crop((shown.width // 4, shown.height // 4, 3 * shown.width // 4, 3 * shown.height // 4))

    @property
    def is_drawn(self):
        return ImageStat.Stat(self.picture()).stddev[0] > EVEN


def test_a_visitor_turns_the_first_shape(page):
    page.get_by_role("spinbutton", name="Versions").fill("1")
    page.get_by_role("button", name="Sampling settings").click()
    page.get_by_role("spinbutton", name="Steps").fill("5")
    page.get_by_label("Resolution").fill("48")
    generate(page)
    view = View(page)
    assert view.is_drawn
    before, box = view.picture(), view.canvas.bounding_box()
    assert view.picture() == before
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 100, y + 20, steps=5)
    page.mouse.up()
    page.wait_for_timeout(1000)
    assert view.is_drawn
    assert ImageStat.Stat(ImageChops.difference(view.picture(), before)).mean[0] > 1
