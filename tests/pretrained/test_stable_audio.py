"""Stable Audio gives the latents and the sounds of diffusers' pipeline, and its sounds are edited like others."""

import json
import shutil
import sys
from itertools import pairwise

import diffusers
import numpy as np
import pytest
import torch

import multidiff
from modalities.audio.clip import AudioClip
from multidiff.cli.sample import run
from multidiff.errors import InputError
from multidiff.pretrained import save_folder, save_single
from multidiff.sampling.reproduce import reproduce_samples
from tests.pretrained import folders
from tests.pretrained.test_equal_to_diffusers import Double
from tests.pretrained.test_folder import change
from tests.pretrained.test_saving import contents

PROMPTS, NEGATIVE, SCALE, STEPS, SECONDS = ["a red ball", "tall chair"], "blue", 3.0, 4, 0.3

COSINE = folders.cosine_scheduler()
EDM = diffusers.EDMDPMSolverMultistepScheduler
SCHEDULERS = {
    "cosine": COSINE(),
    "karras, heun": COSINE(sigma_schedule="karras", solver_type="heun"),
    "first order": COSINE(solver_order=1, prediction_type="epsilon"),
    "edm": EDM(),
    "edm, v": EDM(prediction_type="v_prediction", sigma_schedule="exponential", solver_type="heun"),
    "edm, sde": EDM(algorithm_type="sde-dpmsolver++", sigma_data=1.0),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a tiny Stable Audio, and the pipeline of diffusers that it was saved from."""
    folder = tmp_path_factory.mktemp("audio") / "sao"
    return folder, folders.stable_audio(folder)


@pytest.fixture(scope="module")
def ours(saved):
    return multidiff.load(saved[0], "cpu")


@pytest.fixture
def double(monkeypatch):
    """diffusers computes in float64 wherever its code says float32."""
    for part in (COSINE, EDM, diffusers.models.attention_processor.Attention):
        monkeypatch.setattr(sys.modules[part.__module__], "torch", Double(torch))
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def theirs(pipeline, plan, monkeypatch, **request):
    """What diffusers makes of the request of ``plan``, from the same noise."""
    noise, scheduler = plan.seeds.noise(range(2), plan.pipeline.noise), pipeline.scheduler
    steps = iter([noise.between(t, s) for t, s in pairwise(plan.grid)])
    for module in {sys.modules[each.__module__] for each in (COSINE, EDM)}:
        if hasattr(module, "BrownianTreeNoiseSampler"):
            monkeypatch.setattr(module, "BrownianTreeNoiseSampler", lambda *_, **__: lambda *_: next(steps))
        if hasattr(module, "randn_tensor"):
            monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: next(steps))
    ratio = scheduler.config.sigma_max / scheduler.init_noise_sigma
    return pipeline(
        PROMPTS, num_inference_steps=STEPS, guidance_scale=SCALE, latents=noise.start() * ratio, **request
    ).audios


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(("name", "negative"), [("cosine", None), *((name, NEGATIVE) for name in SCHEDULERS)])
def test_latents_and_sounds_equal_those_of_diffusers(saved, monkeypatch, tmp_path, name, negative):
    folder, pipeline = shutil.copytree(saved[0], tmp_path / "own"), saved[1].to(torch.float64)
    pipeline.scheduler = SCHEDULERS[name]
    pipeline.scheduler.save_pretrained(folder / "scheduler")
    own = multidiff.load(folder, "cpu")
    own.model.double()
    request = {} if negative is None else {"negative": negative}
    plan = own.plan(2, prompt=PROMPTS, fields={"seconds": SECONDS}, steps=STEPS, guidance=SCALE, seed=5, **request)
    asked = {"audio_end_in_s": SECONDS} | ({} if negative is None else {"negative_prompt": [negative] * 2})
    latents = theirs(pipeline, plan, monkeypatch, output_type="latent", **asked)
    x0 = plan.x0(range(2))
    assert (x0 - latents).abs().max() < 1e-6
    assert x0.std() > 0.1
    sounds = theirs(pipeline, plan, monkeypatch, output_type="np", **asked)
    for clip, sound in zip(plan.generate(), sounds, strict=True):
        assert clip.waveform.shape == (2, 300)
        assert np.abs(clip.waveform - sound).max() < 1e-6


def test_it_is_a_pipeline_of_stereo_sounds(ours, saved, tmp_path):
    assert ours.data_shape == (2, 512)
    assert (ours.modality.sample_rate, ours.modality.channels) == (1000, 2)
    assert ours.sampler["steps"] == 100
    first, second = ours.sample(2, prompt="a red ball", fields={"seconds": [0.1, 0.512]}, steps=2)
    assert (first.seconds, second.seconds) == (0.1, 0.512)
    request = {"prompt": ["a ball"], "negative": NEGATIVE, "fields": {"seconds": 0.2}, "steps": 2}
    run(str(saved[0]), tmp_path / "out", 1, request)
    assert ours.modality.read(tmp_path / "out" / "00000.wav").seconds == 0.2
    assert reproduce_samples(tmp_path / "out").equal


def test_samples_do_not_depend_on_their_batch(ours):
    request = {"steps": 2, "guidance": SCALE}
    long = "ball " * 40  # of several chunks
    together = ours.plan(2, prompt=["a ball", long], **request).x0(range(2))
    alone = ours.plan(1, prompt="a ball", **request).x0(range(1))
    assert torch.allclose(together[:1], alone, atol=1e-4)


def test_a_long_sound_in_tiles_is_that_of_the_whole(ours, monkeypatch):
    x0, data = torch.randn(1, 4, 203), torch.randn(1, 2, 1624)
    codec = ours.model.codec
    whole = codec.network.decode(x0).sample, codec.network.encode(data).latent_dist.mode()
    monkeypatch.setattr("multidiff.pretrained.oobleck.TILE", 32)
    assert torch.allclose(codec.decode(x0), whole[0], atol=1e-5)
    assert torch.allclose(codec.encode(data), whole[1], atol=1e-5)
    moved = x0.clone()
    moved[:, :, 100] += 1
    changed = (codec.network.decode(moved).sample != whole[0]).any(dim=1)[0].nonzero()
    reach = codec.reach[1] * codec.hop
    assert 800 - reach <= changed.min()
    assert changed.max() < 808 + reach


def test_sounds_are_edited(ours):
    random = np.random.default_rng(0)
    clip = AudioClip(random.uniform(-1, 1, (2, 400)).astype(np.float32), 1000)
    request = {"prompt": "a ball", "steps": 2}
    (varied,) = ours.sample(1, init=clip, strength=0.5, fields={"seconds": 0.4}, **request)
    assert varied.waveform.shape == (2, 400)
    (part,) = ours.inpaint(clip, 0.1, 0.2, repeats=1, **request)
    assert np.array_equal(part.waveform[:, 200:400], clip.waveform[:, 200:])
    assert not np.allclose(part.waveform[:, 100:200], clip.waveform[:, 100:200])
    (longer,) = ours.extend(clip, 0.5, repeats=1, fields={"seconds": 0.3}, **request)
    assert longer.waveform.shape[1] >= 900
    assert np.array_equal(longer.waveform[:, :400], clip.waveform)


def test_an_unchanged_folder_has_the_same_bytes(ours, saved, tmp_path):
    save_folder(ours.model, saved[0], tmp_path / "again")
    with pytest.raises(InputError, match="is a StableAudioPipeline, but single files support FluxPipeline, Stable"):
        save_single(saved[0], {}, tmp_path / "audio.safetensors")
    assert contents(tmp_path / "again") == contents(saved[0])


@pytest.mark.parametrize("seconds", [0, 0.6, "long", float("nan")])
def test_a_length_that_it_does_not_make_is_refused(ours, seconds):
    with pytest.raises(InputError, match="seconds"):
        ours.plan(1, prompt="a ball", fields={"seconds": seconds})


def test_bad_folders_are_refused(saved, tmp_path):
    folder = shutil.copytree(saved[0], tmp_path / "half")
    shutil.rmtree(folder / "projection_model")
    with pytest.raises(InputError, match="an incomplete StableAudioPipeline: projection_model/ missing"):
        multidiff.load(folder, "cpu")
    folder = shutil.copytree(saved[0], tmp_path / "odd")
    scheduler = folder / "scheduler" / "scheduler_config.json"
    for wrong, message in (
        ({"prediction_type": "sample"}, "scheduler_config.json: prediction_type is v_prediction or epsilon"),
        ({"_class_name": "DDIMScheduler"}, "is sampled by a CosineDPMSolverMultistepScheduler or EDMDPM"),
    ):
        kept = json.loads(scheduler.read_text())
        change(scheduler, **wrong)
        with pytest.raises(InputError, match=message):
            multidiff.load(folder, "cpu")
        scheduler.write_text(json.dumps(kept))
    diffusers.StableAudioProjectionModel(16, 10, 0, 512).save_pretrained(folder / "projection_model")
    with pytest.raises(InputError, match="cross_attention_input_dim of the transformer is 12, but the projection"):
        multidiff.load(folder, "cpu")
