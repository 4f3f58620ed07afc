"""The studio in a real browser: Debian's chromium, headless."""

import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest
import yaml

playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium")
OPTIONS = (
    *("--port", "7871", "--host", "127.0.0.1", "--max-samples", "8", "--max-batch", "8"),
    *("--max-steps", "20000", "--max-size", "1000000", "--max-seconds", "100", "--max-upload", "2"),
)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="apt-get install chromium")]


@contextmanager
def served(folder, *arguments):
    """The address of the installed command, run in ``folder``."""
    command = [sys.executable, "-m", "multidiff.cli.main", "studio", *map(str, arguments), "--history", "history"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        line = server.stdout.readline()
        assert "the studio is at" in line
        yield line.split()[4].rstrip(";")
        server.terminate()


@pytest.fixture(scope="module")
def address(run_dir, tmp_path_factory):
    """A studio with every option."""
    folder = tmp_path_factory.mktemp("browser")
    (folder / "report.html").write_text("<h1>Scores</h1>")
    with served(folder, run_dir, *OPTIONS, "--run", run_dir, "--report", "report.html") as address:
        yield address


@pytest.fixture(scope="module")
def long_address(run_dir, tmp_path_factory):
    """A studio whose model takes minutes."""
    folder = tmp_path_factory.mktemp("long")
    shutil.copytree(run_dir / "model", folder / "model")
    config = yaml.safe_load((folder / "model" / "config.yaml").read_text())
    config["sampler"]["steps"] = 20_000
    (folder / "model" / "config.yaml").write_text(yaml.safe_dump(config))
    with served(folder, "model", "--port", "7874", "--max-steps", "20000") as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser, address, width):
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_default_timeout(120_000)
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(address)
    yield page
    assert page.errors == []
    page.close()


@pytest.fixture(params=[1280, 390])
def page(browser, address, request):
    with opened(browser, address, request.param) as page:
        yield page


@pytest.fixture(params=[1280, 390])
def long_page(browser, long_address, request):
    with opened(browser, long_address, request.param) as page:
        yield page


def generate(page):
    page.get_by_role("button", name="Generate", exact=True).click()
    page.get_by_text("kept in the history").first.wait_for()


def test_a_visitor_generates_downloads_and_comes_back(page, tmp_path):
    generate(page)
    seed = page.get_by_label("Seed", exact=True).input_value()
    page.get_by_role("button", name="Download").first.click()
    with page.expect_download() as download:
        page.locator("a[download]", has_text="KB").or_(page.locator("a[download]", has_text=" B")).first.click()
    file = tmp_path / "dropped.png"
    download.value.save_as(file)
    page.get_by_label("Seed", exact=True).fill("1")
    page.locator("input[type=file]").last.set_input_files(file)
    page.wait_for_function(
        "seed => [...document.querySelectorAll('input[type=number]')].some(each => each.value === seed)", arg=seed
    )
    assert page.get_by_label("Keep the seed").is_checked()


def test_a_visitor_stops_a_job(long_page):
    long_page.get_by_role("button", name="Generate", exact=True).click()
    long_page.get_by_text("Denoising").first.wait_for()
    long_page.get_by_role("button", name="Stop", exact=True).click()
    long_page.get_by_text("No result: stopped").wait_for()
    assert not long_page.get_by_text("kept in the history").first.is_visible()


def open_tab(page, name):
    """Click a tab, which a narrow page keeps in a menu."""
    tab = page.get_by_role("tab", name=name).first
    page.get_by_role("tab").locator("visible=true").first.wait_for()
    if not tab.is_visible():
        page.locator(".overflow-menu > button").first.click()
        tab = page.locator(".overflow-dropdown button", has_text=name).first
    tab.click()


def themes(page):
    """The names of both themes, each while the page shows it; the page ends as it began."""
    for theme in ("light", "dark"):
        page.wait_for_timeout(300)
        yield theme
        page.evaluate("document.body.classList.toggle('dark')")


def test_nothing_is_wider_than_the_screen(page):
    generate(page)
    for name in ("History", "Training", "Reports", "Generate"):
        open_tab(page, name)
        for theme in themes(page):
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (name, theme)
