"""Messages that say what to install name this package and extras that it has."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_install_hints_name_this_package_and_its_extras():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    sources = [*ROOT.glob("multidiff/**/*.py"), *ROOT.glob("modalities/**/*.py"), *ROOT.glob("docs/*.md")]
    hints = [
        hint for path in sources for hint in re.findall(r"pip install '([\w-]+)\[([\w,]+)\]'", path.read_text("utf-8"))
    ]
    assert len(hints) >= 4
    assert {name for name, _ in hints} == {project["name"]}
    assert {extra for _, extras in hints for extra in extras.split(",")} <= set(project["optional-dependencies"])
