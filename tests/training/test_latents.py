"""Diffusion on latents: they are computed once, and the denoiser does not know."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import multidiff
from multidiff.codecs import Codec
from multidiff.configuration import instantiate
from multidiff.data.dataset import Dataset, UnreadableError
from multidiff.errors import InputError
from multidiff.evaluation import EvaluationRun, EvaluationSettings
from multidiff.training.checkpoints import newest_checkpoint
from multidiff.training.latents import cached_latents
from multidiff.training.run_directory import read_settings
from tests.tiny import tiny_train
from tests.tiny_codec import train_codec


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("latents")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MULTIDIFF_CACHE", str(folder / "cache"))
        train_codec(folder / "codec", "trainer.max_steps=4")
        latent_train(folder, "run", "trainer.max_steps=2", "callbacks.previews.every=2")
        yield folder


def latent_train(work, name, *overrides):
    return tiny_train(work / name, "codec=learned", f"codec.path={work / 'codec'}", *overrides)


def test_the_model_holds_the_denoiser_and_refers_to_the_codec(work):
    names = load_file(work / "run" / "model" / "model.safetensors")
    assert not any("codec" in name or "autoencoder" in name for name in names)
    checkpoint = torch.load(newest_checkpoint(work / "run" / "checkpoints"), weights_only=True)
    assert not any("codec" in name for name in checkpoint["state_dict"])
    pipeline = multidiff.load(work / "run")
    assert (pipeline.shape, pipeline.data_shape) == ((2, 2, 2), (1, 8, 8))
    assert [image.size for image in pipeline.sample(2, steps=2)] == [(8, 8), (8, 8)]


def test_cached_and_encoded_batches_train_the_same_weights(work):
    latent_train(work, "direct", "trainer.max_steps=2", "codec.views=0")
    cached, direct = (load_file(work / name / "model" / "model.safetensors") for name in ("run", "direct"))
    for name, weight in cached.items():
        torch.testing.assert_close(direct[name], weight, atol=1e-6, rtol=1e-4)


def test_an_interrupted_training_ends_with_the_same_weights(work):
    latent_train(work, "parts", "trainer.max_steps=1")
    latent_train(work, "parts", "trainer.max_steps=2", "resume=true")
    whole, parts = (load_file(work / name / "model" / "model.safetensors") for name in ("run", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def codec_of(work, **changes):
    return instantiate(Codec, {**read_settings(work / "run")["codec"], **changes})


class Noisy(Dataset):
    """Random data whose augmentation is new each time; one sample cannot be read."""

    shape = (1, 8, 8)
    origin = "noisy"
    shards = np.array([0, 0, 1, 1, 1])

    def __len__(self):
        return 5

    def data(self, index, random):
        if index == 2:
            raise UnreadableError("broken")
        return torch.from_numpy(random.standard_normal(self.shape).astype(np.float32))


def test_views_are_kept_apart_and_samples_that_cannot_be_read_stay_so(work, monkeypatch):
    latents = cached_latents(codec_of(work, views=3), Noisy())
    found = {latents.data(1, np.random.default_rng(n)).numpy().tobytes() for n in range(50)}
    assert (len(latents), len(found), latents.shape) == (5, 3, (2, 2, 2))
    assert latents.shards is Noisy.shards  # so that the same samples are held out
    with pytest.raises(UnreadableError):
        latents.data(2, np.random.default_rng(0))
    monkeypatch.setattr(Noisy, "data", None)
    again = cached_latents(codec_of(work, views=3), Noisy())
    assert torch.equal(again.data(1, np.random.default_rng(0)), latents.data(1, np.random.default_rng(0)))


def test_latents_that_are_not_finite_name_the_sample(work, monkeypatch):
    monkeypatch.setattr(Noisy, "origin", "infinite")
    monkeypatch.setattr(Noisy, "data", lambda self, index, random: torch.full((1, 8, 8), torch.inf if index else 0.0))
    with pytest.raises(InputError, match=r"sample 1 of the data: the codec .* not finite"):
        cached_latents(codec_of(work), Noisy())


def test_a_codec_that_changed_is_refused_on_resume(work):
    train_codec(work / "other", "trainer.max_steps=1")
    with pytest.raises(InputError, match=r"has the hash .* is expected"):
        tiny_train(work / "run", "codec=learned", f"codec.path={work / 'other'}", "resume=true", "trainer.max_steps=3")


def test_a_codec_of_other_data_is_refused(work, tmp_path):
    with pytest.raises(InputError, match="there is no codec at"):
        tiny_train(tmp_path / "run", "codec=learned", f"codec.path={tmp_path}/none")
    with pytest.raises(InputError, match="is no codec"):
        tiny_train(tmp_path / "run", "codec=learned", f"codec.path={work}/run")


def test_other_settings_than_those_of_the_codec_are_refused_before_the_data_are_read(work):
    other = ("data=image_folder", "data.root=nowhere", "modality.channels=3")
    with pytest.raises(InputError, match=r"data have modality\.channels=3: set modality\.channels=1"):
        latent_train(work, "unread", *other)


def test_inpainting_keeps_the_other_pixels_exactly(work):
    pipeline, picture = multidiff.load(work / "run"), Image.new("L", (8, 8), 255)
    region = np.zeros((8, 8), bool)
    region[:, 4:] = True
    (result,) = pipeline.inpaint(picture, region, steps=2, seed=3)
    assert np.array_equal(np.asarray(result)[:, :4], np.asarray(picture)[:, :4])
    assert not np.array_equal(np.asarray(result), np.asarray(picture))


def test_varying_and_interpolating_work_on_latents(work):
    pipeline = multidiff.load(work / "run")
    (picture,) = pipeline.sample(1, steps=2)
    assert pipeline.sample(1, init=picture, strength=0.5, steps=2)[0].size == (8, 8)
    assert len(pipeline.interpolate(0, 1, 3, steps=2)) == 3


def test_evaluation_compares_decoded_samples(work):
    settings = EvaluationSettings(
        "digits", str(work / "run"), samples=20, features="encoder steps=3", changes={"steps": 1}
    )
    assert EvaluationRun(settings).result().evaluation.protocol["counts"]["generated"] == 20


def test_latents_of_a_teacher_need_the_same_codec(work, tmp_path):
    with pytest.raises(InputError, match=r"make them equal|codec"):
        tiny_train(tmp_path / "run", "objective=distillation", f"teacher={work / 'run'}")


def test_a_student_of_other_data_has_the_latents_of_its_teacher(work, tmp_path):
    """Its statistics are the teacher's, over a resume too, and its cache and tiles its own."""
    for label in range(10):
        (tmp_path / f"{label}").mkdir()
        Image.new("L", (8, 8), 20 * label).save(tmp_path / f"{label}" / "0.png")
    teacher, data = work / "run", ("data=image_folder", f"data.root={tmp_path}", "data.size=8")
    student = (f"teacher={teacher}", f"init={teacher}", "objective=consistency", "guidance=1.0", "loader.batch_size=2")
    given = (*data, *student, "codec.views=0", "codec.tile=64")
    latent_train(work, "student", *given, "trainer.max_steps=1")
    latent_train(work, "student", *given, "trainer.max_steps=2", "resume=true")
    own, known = (read_settings(work / name)["codec"] for name in ("student", "run"))
    assert {**own, "views": 1, "tile": 128} == known
    assert [image.size for image in multidiff.load(work / "student").sample(1, steps=1)] == [(8, 8)]
