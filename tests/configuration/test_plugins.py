"""Plug-ins that cannot be used are refused with the reason."""

import pytest
from PIL import Image

from multidiff.configuration import load_option
from multidiff.configuration.build import check_target
from multidiff.errors import InputError
from multidiff.plugins import plugins
from multidiff.sampling.sampler_config import load_sampler
from tests.cli.command import multidiff, refused


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs plug-ins with a module of the same name and a config, of the group ``sampler`` by default."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def add(name, code, option, config=None, group="sampler", entry=None):
        facts, options = tmp_path / f"{name}-1.dist-info", tmp_path / name / "conf" / group
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (facts / "entry_points.txt").write_text(f"[multidiff.plugins]\n{name} = {entry or name}\n")
        options.mkdir(parents=True)
        (options / f"{option}.yaml").write_text(config or f"name: {option}\n")
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


def test_an_entry_point_of_an_object_is_refused(install):
    install("plugin", "", "own", entry="plugin:Sampler")
    with pytest.raises(InputError, match="plugin must be the name of a module, such as 'plugin', got 'plugin:Sampler'"):
        load_option("sampler", "own")


ABSENT = "which does not exist: module"
PARTS = "name: own\nsteps: 5\ngrid: {_target_: multidiff.diffusion.grids.Uniform}\nmethod: {_target_: %s}\n"
INCOMPLETE = """
from multidiff.diffusion.samplers import Sampler
class Incomplete(Sampler):
    def __init__(self, schedule): pass
    def step(self, *arguments): pass
"""
BROKEN = {
    "absent_class": (PARTS % "absent_class.Absent", ABSENT),
    "no_order": (PARTS % "no_order.Incomplete", "Incomplete must state order and evaluations"),
    "no_parts": ("name: own\n", "own.yaml does not describe a sampler by grid, method, name, steps"),
    "no_yaml": ("name: [own\n", "own.yaml cannot be read"),
    "no_mapping": ("- own\n", "own.yaml must hold KEY: VALUE lines"),
}


def test_broken_samplers_are_left_out_of_the_list(install, tmp_path, caplog):
    for name, (config, _) in BROKEN.items():
        install(name, INCOMPLETE, f"{name}_own", config)
    done = multidiff("samplers", cwd=tmp_path)
    assert (done.returncode, "heun" in done.stdout) == (0, True), done.stderr
    for name, (_, saying) in BROKEN.items():
        (line,) = (line for line in caplog.messages if line.startswith(f"the sampler {name}_own is left out: "))
        assert saying in line


@pytest.mark.parametrize("name", ["no_parts", "no_yaml", "no_mapping"])
def test_a_broken_sampler_is_refused_where_it_is_asked_for(install, name):
    config, saying = BROKEN[name]
    install(name, "", "own", config)
    with pytest.raises(InputError, match=saying):
        load_sampler("own")


def test_a_broken_modality_does_not_keep_others_from_reading(install, tmp_path, caplog):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    install("no_modality", "", "own", "_target_: no_modality.Absent\n", "modality")
    assert multidiff("inspect", "a.png", cwd=tmp_path).returncode == 0
    assert multidiff("inspect", ".", cwd=tmp_path).returncode == 0
    assert ABSENT in caplog.text
    refused("reproduce", "a.png", cwd=tmp_path, saying="a.png holds no plan")
