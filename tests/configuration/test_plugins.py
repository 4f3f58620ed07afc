"""Plug-ins that cannot be used are refused with the reason."""

import pytest

from multidiff.configuration import load_option
from multidiff.configuration.build import check_target
from multidiff.errors import InputError
from multidiff.plugins import plugins


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs plug-ins with a module of the same name and a config of the group ``sampler``."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def add(name, code, option):
        facts, options = tmp_path / f"{name}-1.dist-info", tmp_path / name / "conf" / "sampler"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (facts / "entry_points.txt").write_text(f"[multidiff.plugins]\n{name} = {name}\n")
        options.mkdir(parents=True)
        (options / f"{option}.yaml").write_text(f"name: {option}\n")
        (tmp_path / name / "__init__.py").write_text(code)
        plugins.cache_clear()

    yield add
    monkeypatch.undo()
    plugins.cache_clear()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import absent_module", "No module named 'absent_module'"),
        ("raise RuntimeError('no licence')", "broken_plugin cannot be imported, RuntimeError: no licence"),
        ("def (:", "broken_plugin cannot be imported, SyntaxError"),
    ],
    ids=["import", "error", "syntax"],
)
def test_a_plugin_that_cannot_be_imported_is_refused(install, code, message):
    install("broken_plugin", code, "own")
    with pytest.raises(InputError, match=message):
        check_target("broken_plugin.Sampler")


@pytest.mark.parametrize("options", [("mine", "mine"), ("mine", "ddim")], ids=["of a plug-in", "shipped"])
def test_two_configs_of_one_name_are_refused(install, options):
    for number, option in enumerate(options):
        install(f"plugin_{number}", "", option)
    with pytest.raises(
        InputError, match=rf"two configs have the same name, .*{options[1]}.yaml and .*{options[1]}.yaml"
    ):
        load_option("sampler", "mine")


def test_plugins_with_other_names_work_together(install):
    for number, option in enumerate(("mine", "yours")):
        install(f"plugin_{number}", "", option)
    assert [load_option("sampler", name)["name"] for name in ("mine", "yours")] == ["mine", "yours"]
