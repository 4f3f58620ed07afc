"""Cheaper evaluations change samples within bounds, travel with the sampler, and never depend on the batch."""

import pytest
import torch
import yaml

from multidiff.errors import InputError
from multidiff.nn.bfloat16 import InBfloat16
from multidiff.nn.dit import DiT
from multidiff.nn.reuse import ReusedFeatures
from multidiff.nn.unet import UNet
from multidiff.sampling import speed
from multidiff.sampling.reproduce import plan_from
from multidiff.sampling.sampler_config import checked_sampler, load_sampler
from multidiff.sampling.speed import Speed, with_speed

CPU = torch.device("cpu")
SETTINGS = [Speed(reuse=2), Speed(precision="bfloat16", channels_last=True, reuse=3)]


def x0(pipeline, settings, rows=range(4), **request):
    """With one of `SETTINGS`, and the file of a sampler that names it."""
    own = {**pipeline.sampler, "steps": 5, "speed": settings.record()}
    sampler, pipeline.sampler = pipeline.sampler, own
    try:
        return pipeline.plan(4, label=["1", "7"], guidance=2.0, **request).x0(rows)
    finally:
        pipeline.sampler = sampler


def distance(one, other):
    return ((one - other).square().mean() / other.square().mean()).sqrt().item()


def test_bfloat16_changes_samples_by_its_rounding_and_nothing_else(pipeline):
    """Half a unit in the last of 8 bits, 2^-9, at the input and in each of the layers, about 20, of 5 steps."""
    plain, rounded = x0(pipeline, Speed()), x0(pipeline, Speed(precision="bfloat16"))
    assert rounded.dtype == torch.float32
    assert 0 < distance(rounded, plain) < 2**-9 * (20 * 5) ** 0.5
    assert torch.equal(x0(pipeline, Speed()), plain)  # the model is as it was


def test_channels_last_changes_samples_by_rounding(pipeline):
    assert distance(x0(pipeline, Speed(channels_last=True)), x0(pipeline, Speed())) < 1e-5
    stem = pipeline.model.denoiser.network.stem.weight
    assert stem.is_contiguous()


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_sample_does_not_depend_on_its_batch(pipeline, settings):
    whole = x0(pipeline, settings)
    parts = torch.cat([x0(pipeline, settings, range(i, i + 2)) for i in (0, 2)])
    assert distance(parts, whole) < (1e-2 if settings.precision == "bfloat16" else 1e-5)


def test_auto_is_the_faster_precision_and_the_record_says_which(pipeline, monkeypatch):
    for pays, chosen in ((True, {"precision": "bfloat16"}), (False, None)):
        monkeypatch.setattr(speed, "bfloat16_pays", lambda device, pays=pays: pays)
        plan = pipeline.plan(1, precision="auto", steps=2)
        assert plan.record()["sampler"].get("speed") == chosen
        assert isinstance(plan.network.denoiser(), InBfloat16) == pays
    record = pipeline.plan(2, label="1", guidance=2.0, precision="bfloat16", steps=2).record()
    again = plan_from(pipeline, record, lambda role, file: None)
    assert again.speed == Speed("bfloat16")


def test_what_is_compiled_is_a_copy_that_shares_the_weights(pipeline, monkeypatch):
    given = []
    monkeypatch.setattr(speed, "compile_in_place", lambda network, failed: given.append(network))
    plain = pipeline.plan(2, steps=2).x0(range(2))
    assert torch.equal(pipeline.plan(2, steps=2, compile=True).x0(range(2)), plain)
    (network,) = given
    assert network is not pipeline.model.denoiser.network
    assert network.stem is pipeline.model.denoiser.network.stem


def test_a_sampler_file_names_them(pipeline, tmp_path):
    config = {**load_sampler("dpmpp_2m"), "steps": 3, "speed": {"reuse": 2, "guidance_interval": [-1, 2]}}
    (tmp_path / "fast.yaml").write_text(yaml.safe_dump(config))
    plan = pipeline.plan(2, label="1", guidance=2.0, sampler=str(tmp_path / "fast.yaml"))
    assert plan.speed == Speed(reuse=2, guidance_interval=(-1.0, 2.0))
    assert tuple(plan.denoiser(range(2)).interval) == (-1, 2)
    assert plan.x0(range(2)).isfinite().all()


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"precision": "float8"}, "precision is auto, float32 or bfloat16, got 'float8'"),
        ({"compile": 1}, "compile and channels_last are true or false"),
        ({"reuse": 0}, "reuse is a number of evaluations, at least 1, got 0"),
        ({"guidance_interval": [2, 1]}, "a lower and a higher log SNR, got"),
        ({"cache": 2}, "speed of sampler dpmpp_2m takes precision, compile"),
        (3, "is not a mapping: 3"),
    ],
)
def test_other_settings_are_refused(entry, why):
    config = {**load_sampler("dpmpp_2m"), "speed": entry}
    with pytest.raises(InputError, match=why.replace("(", r"\(")):
        checked_sampler(config, "fast.yaml")
    with pytest.raises(InputError, match="precision is auto"):
        with_speed(load_sampler("dpmpp_2m"), "half", None, CPU)


NETWORKS = {
    "unet": lambda: UNet(dims=2, channels=1, widths=[8, 8, 8], blocks=[1, 2, 1], attention=[False] * 3, head_size=8),
    "one stage": lambda: UNet(dims=1, channels=1, widths=[8], blocks=[2], attention=[False], head_size=8),
    "dit": lambda: DiT(dims=2, channels=1, patch=2, width=16, depth=3, head_size=8),
}


def network(name):
    """With random weights where training starts from zero."""
    made = NETWORKS[name]().eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_reused_features_are_those_of_the_noise_level_or_on_a_line_through_two(name):
    net = network(name)
    size = (8, 8) if "stage" not in name else (8,)
    x, levels = torch.randn(2, 1, *size), [torch.full((2,), level) for level in (-1.0, -0.5, 0.0, 0.5)]
    deep = [net.partly(x, level)[1] for level in levels]
    torch.testing.assert_close(net.partly(x, levels[0], deep=deep[0])[0], net(x, levels[0]))
    reused = ReusedFeatures(net, 2, net.partly)
    outputs = [reused(x, level) for level in levels]
    copied, line = deep[0], deep[2] + 0.5 * (deep[2] - deep[0])
    expected = [net(x, levels[0]), net.partly(x, levels[1], deep=copied)[0], net(x, levels[2])]
    for output, wanted in zip(outputs, [*expected, net.partly(x, levels[3], deep=line)[0]], strict=True):
        torch.testing.assert_close(output, wanted)
    torch.testing.assert_close(reused(x, levels[0]), net(x, levels[0]))  # the noise has risen: another sampling
    torch.testing.assert_close(reused(x[:1], levels[1][:1]), net(x[:1], levels[1][:1]))
