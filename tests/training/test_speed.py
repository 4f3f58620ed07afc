"""What makes training faster changes nothing else, and what cannot be had is said and done without."""

import json
import sys
from importlib.util import find_spec

import pytest
import torch
from torch import nn

from multidiff.errors import InputError
from multidiff.nn import bfloat16
from multidiff.training import speed
from multidiff.training.profile import SKIPPED, StepProfiler
from multidiff.training.run_directory import read_settings
from multidiff.training.speed import SpeedSettings, compile_with_fallback, decided_precision
from tests.cli.command import multidiff
from tests.tiny import tiny_train, weights

AUTO = {"precision": "auto", "accelerator": "cpu"}
LARGE_EPSILON = "+optimizer.eps=1e-2"
"""Keeps Adam from dividing the rounding of gradients by themselves."""


EIGHT_BITS = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")


def assert_equal_weights(one, other, rtol=0.0, atol=0.0):
    ones, others = weights(one), weights(other)
    assert ones.keys() == others.keys()
    for name in ones:
        torch.testing.assert_close(others[name], ones[name], rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    "setting",
    [
        pytest.param("trainer.channels_last=true", marks=pytest.mark.slow),
        "optimizer=schedule_free",
        "optimizer=muon backbone.widths=[8,40]",
        pytest.param("optimizer=adamw_8bit backbone.widths=[8,40]", marks=[EIGHT_BITS, pytest.mark.slow]),
    ],
)
def test_stopping_and_resuming_changes_no_bit_with_any_speed_setting(tmp_path, setting):
    """Mixed precision is resumed in test_resume.py."""
    tiny_train(tmp_path / "whole", "trainer.max_steps=4", *setting.split())
    tiny_train(tmp_path / "halves", "trainer.max_steps=2", *setting.split())
    tiny_train(tmp_path / "halves", "trainer.max_steps=4", "resume=true", *setting.split())
    assert_equal_weights(tmp_path / "whole", tmp_path / "halves")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run of four steps without any speed setting."""
    run_dir = tmp_path_factory.mktemp("plain")
    tiny_train(run_dir, "trainer.max_steps=4", LARGE_EPSILON)
    return run_dir


@pytest.mark.parametrize("setting", ["trainer.channels_last=true", "backbone.gradient_checkpointing=true"])
def test_the_model_is_the_same_up_to_rounding_under_the_same_names(plain, tmp_path, setting):
    tiny_train(tmp_path, "trainer.max_steps=4", LARGE_EPSILON, setting)
    assert_equal_weights(plain, tmp_path, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_compiled_model_is_the_same_up_to_rounding_and_stopping_changes_no_bit(tmp_path):
    small = ("backbone.widths=[8]", "backbone.blocks=[1]", "backbone.attention=[false]", LARGE_EPSILON)
    tiny_train(tmp_path / "plain", "trainer.max_steps=4", *small)
    tiny_train(tmp_path / "whole", "trainer.max_steps=4", "trainer.compile=true", *small)
    tiny_train(tmp_path / "halves", "trainer.max_steps=2", "trainer.compile=true", *small)
    tiny_train(tmp_path / "halves", "trainer.max_steps=4", "trainer.compile=true", "resume=true", *small)
    assert_equal_weights(tmp_path / "plain", tmp_path / "whole", rtol=1e-4, atol=1e-5)
    assert_equal_weights(tmp_path / "whole", tmp_path / "halves")


def test_memory_may_be_spared_from_a_resume_on(tmp_path):
    tiny_train(tmp_path, "trainer.max_steps=1")
    assert tiny_train(tmp_path, "trainer.max_steps=2", "resume=true", "backbone.gradient_checkpointing=true").finished


def test_a_network_that_cannot_be_compiled_runs_as_it_is_and_that_is_said_once(monkeypatch, caplog):
    def broken(graph, inputs):
        raise OSError("no compiler here\nand much more")

    network, x = nn.Linear(2, 2), torch.ones(1, 2)
    expected, names = network(x), list(network.state_dict())
    compile_with = network.compile
    monkeypatch.setattr(network, "compile", lambda options: compile_with(backend=broken))
    compile_with_fallback(network)
    assert torch.equal(network(x), expected)
    assert torch.equal(network(x), expected)
    assert list(network.state_dict()) == names
    said = [record.getMessage() for record in caplog.records if "uncompiled" in record.getMessage()]
    assert len(said) == 1
    assert len(said[0].splitlines()) == 1
    assert "no compiler here" in said[0]


@pytest.mark.slow
def test_what_is_no_fault_of_compilation_is_an_error_as_ever():
    network = nn.Linear(2, 2)
    compile_with_fallback(network)
    with pytest.raises((RuntimeError, TypeError)):
        network(torch.ones(1, 3))


@pytest.mark.parametrize(("pays", "chosen"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_is_bfloat16_where_it_pays_and_stays_what_it_was(tmp_path, monkeypatch, pays, chosen):
    monkeypatch.setattr(speed, "bfloat16_pays", lambda device: pays)
    assert decided_precision(AUTO, None) == chosen
    assert decided_precision({**AUTO, "precision": "64-true"}, None) == "64-true"
    tiny_train(tmp_path, "trainer.max_steps=1", "trainer.precision=auto")
    monkeypatch.setattr(speed, "bfloat16_pays", lambda device: not pays)
    assert decided_precision(AUTO, read_settings(tmp_path)["trainer"]["precision"]) == chosen


@pytest.mark.parametrize(
    ("instructions", "pays"),
    [(["avx2"], False), (["avx2", "avx512_f"], False), (["avx2", "avx512_bf16"], True), (["amx_bf16"], True)],
)
def test_bfloat16_pays_on_a_processor_with_instructions_for_it(monkeypatch, instructions, pays):
    monkeypatch.setattr(bfloat16, "instruction_sets", lambda: instructions)
    assert bfloat16.bfloat16_pays("cpu") == pays


def test_compile_must_be_a_boolean():
    with pytest.raises(InputError, match=r"trainer\.compile must be true or false, got 'perhaps'"):
        SpeedSettings(compile="perhaps")


@pytest.mark.slow
def test_a_profile_tells_where_the_time_goes_and_leaves_a_trace(tmp_path):
    tiny_train(tmp_path, "trainer.max_steps=62", "trainer.profile=true", "trainer.precision=32-true")
    page = (tmp_path / "profile" / "summary.md").read_text()
    assert page.startswith("# Where the time goes: 50 batches")
    rows = [line.split(" | ") for line in page.splitlines() if line.endswith("% |")]
    parts = {row[0].lstrip("| "): float(row[2].rstrip("% |")) for row in rows}
    wanted = {"network, forward", "network, backward", "loading", "moving average", "clipping and optimizer"}
    assert wanted <= parts.keys()
    assert sum(parts.values()) == pytest.approx(100, abs=0.05 * len(parts))
    trace = json.loads((tmp_path / "profile" / "trace.json").read_text())
    assert any("convolution" in event["name"] for event in trace["traceEvents"] if "name" in event)


def test_a_run_too_short_for_a_profile_says_so(tmp_path, caplog):
    assert tiny_train(tmp_path, f"trainer.max_steps={SKIPPED}", "trainer.profile=true").finished
    assert f"the first {SKIPPED} are warm-up" in caplog.text
    assert not (tmp_path / "profile").exists()


@EIGHT_BITS
def test_moments_of_large_weights_have_eight_bits(tmp_path):
    tiny_train(tmp_path, "trainer.max_steps=1", "optimizer=adamw_8bit", "backbone.widths=[8,40]")
    moments = [value.dtype for name, value in weights(tmp_path).items() if name.endswith(("state1", "state2"))]
    assert set(moments) == {torch.uint8, torch.float32}


def test_a_missing_package_of_an_optimizer_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(InputError, match=r"needs the package bitsandbytes: pip install 'multidiff-toolkit\[optim"):
        tiny_train(tmp_path, "optimizer=adamw_8bit")


def test_a_profile_stays_out_of_what_is_compiled(tmp_path):
    network = nn.Linear(2, 2)
    network.compile(backend="eager", fullgraph=True)  # refuses what cannot be compiled
    profiler = StepProfiler(tmp_path)
    profiler.watch(network)
    profiler.batches = SKIPPED + 1
    network(torch.ones(1, 2))
    assert profiler.seconds.keys() == {"network, forward"}


def test_the_doctor_says_what_there_is_and_what_training_will_use(tmp_path):
    done = multidiff("doctor", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for word in ("cores", "memory", "GFLOP/s", "torch", "schedulefree", "trainer.precision", "trainer.compile"):
        assert word in done.stdout
    assert not list(tmp_path.iterdir())
