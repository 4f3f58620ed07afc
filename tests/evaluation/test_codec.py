"""Codecs are evaluated by their reconstructions of held-out data."""

import numpy as np
import pytest
import torch

from modalities.audio.fidelity import fidelity, si_sdr
from modalities.image.modality import ImageModality
from multidiff.errors import InputError
from multidiff.evaluation import EvaluationRun, EvaluationSettings
from tests.tiny_codec import train_codec


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("evaluated") / "codec"
    train_codec(run_dir)
    return run_dir


def settings(codec, **more):
    return EvaluationSettings("digits", str(codec), **{"samples": 20, "features": "encoder steps=3", **more})


def test_reconstructions_of_held_out_data_are_scored(codec):
    evaluation = EvaluationRun(settings(codec)).result().evaluation
    facts = evaluation.protocol["generated"]
    assert facts["compared"] == evaluation.protocol["counts"]["generated"] == 20
    assert facts["fidelity"].keys() == {"psnr_db", "ssim"}
    assert 0 < facts["fidelity"]["psnr_db"] < 40


def test_they_are_made_in_batches(codec):
    whole, parts = (EvaluationRun(settings(codec, batch_size=size)).source for size in (None, 3))
    assert (whole.size, parts.size) == (64, 3)
    for one, other in zip(whole.pairs(0), parts.pairs(0), strict=True):
        torch.testing.assert_close(other[1], one[1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("wrong", [{"changes": {"steps": 4}}, {"sweep": True}])
def test_a_codec_has_no_sampler(codec, wrong):
    with pytest.raises(InputError, match="a codec"):
        EvaluationRun(settings(codec, **wrong))


def test_psnr_is_that_of_the_squared_error_of_pixels():
    modality, data = ImageModality(3), torch.zeros(3, 16, 16)
    other = data + 2 * 10 / 255
    assert modality.fidelity(data, data) == {"psnr_db": pytest.approx(78, abs=0.2), "ssim": pytest.approx(1)}
    assert modality.fidelity(data, other)["psnr_db"] == pytest.approx(20 * np.log10(25.5), abs=0.5)
    assert modality.fidelity(data[..., :3], data[..., :3])["ssim"] == pytest.approx(1)


def test_si_sdr_is_the_ratio_of_energies_at_any_scale():
    x, n = torch.randn(2, 2, 40000, generator=torch.Generator().manual_seed(0)).double()
    n -= (n * x).sum() / x.square().sum() * x
    expected = 10 * np.log10(float(x.square().sum() / (0.1 * n).square().sum()))
    assert si_sdr(x, x + 0.1 * n) == pytest.approx(expected)
    assert si_sdr(x, 5 * (x + 0.1 * n)) == pytest.approx(expected)


def test_louder_noise_is_farther_by_every_measure():
    sound, noise = torch.randn(2, 2, 16000, generator=torch.Generator().manual_seed(0))
    near, far = (fidelity(sound, sound + amount * noise, 16000) for amount in (0.01, 0.3))
    assert near["si_sdr_db"] > far["si_sdr_db"]
    assert 0 < near["log_mel_db"] < far["log_mel_db"]
    assert 0 < near["spectral"] < far["spectral"]
    assert fidelity(sound, sound, 16000)["log_mel_db"] == 0
