"""Every shipped experiment, and every autoencoder, trains for a few steps by the command."""

import pytest

from multidiff.configuration import group_options
from tests.options.commands import FEW, few_steps, succeed, train
from tests.options.tiny_data import MODALITIES

pytestmark = pytest.mark.slow

AUTOENCODERS = {
    "image_f4": ("image", "image_folder"),
    "image_f4_small": ("image", "image_folder"),
    "image_f8": ("image", "image_folder"),
    "audio": ("audio", "audio_folder"),
}
"""For each autoencoder, the experiment of codecs that takes it, which is also the name of its loss, and its data."""

SHAPES = ("codec/shape", "codec/furniture", "shape/furniture_latent", "shape/mesh_folder_latent")
"""Experiments with codecs of shapes, which tests/modalities/shape/test_shape_codec.py trains."""

PRETRAINED = ("image/lora",)
"""Experiments with a pretrained pipeline, which tests/pretrained/test_tuning.py trains."""

STARTED = ("finetune",)
"""Experiments that start from a trained model, which tests/training/test_finetune.py trains."""

SMALL_FEATURES = {"image": ["reconstruction.encoder_steps=5"], "audio": []}


def codec_overrides(data, name, option):
    """A training of the codec ``name`` on the data ``option``, of two steps."""
    _, own = data[option]
    few = [override for override in FEW if not override.startswith("sampler")]
    return [f"experiment=codec/{name}", f"data={option}", *own, *few, *SMALL_FEATURES[name]]


def test_every_option_is_in_a_run():
    assert {*AUTOENCODERS, "latent_set"} == set(group_options("autoencoder"))
    assert {*(name for name, _ in AUTOENCODERS.values()), "distances"} == set(group_options("reconstruction"))
    assert {*EXPERIMENTS, *SHAPES, *PRETRAINED, *STARTED} == set(group_options("experiment"))


@pytest.mark.parametrize("autoencoder", AUTOENCODERS)
def test_codecs_train_and_diffusion_models_on_their_latents(autoencoder, data, tmp_path):
    name, option = AUTOENCODERS[autoencoder]
    modality = [f"modality={name}", *(["modality.sample_rate=8000", "modality.stereo=true"] if name == "audio" else [])]
    rate = ["modality.sample_rate=8000"] if name == "audio" else []
    overrides = codec_overrides(data, name, option)
    train(
        tmp_path, [*overrides, *rate, f"autoencoder={autoencoder}", "reconstruction.adversarial=0.5", "run_dir=codec"]
    )
    assert list((tmp_path / "codec" / "previews").glob("*.png"))
    backbone = MODALITIES[name]["backbone"][0]
    latent = ["codec=learned", "codec.path=codec", "conditioning=none", f"backbone={backbone[0]}", *backbone[1:]]
    train(tmp_path, [*modality, f"data={option}", *data[option][1], *latent, *FEW, "run_dir=run"])
    succeed(tmp_path, "sample", "run", "-n", 1, "--steps", 1, "--out", "out")


EXPERIMENTS = {
    "codec/image": "image_folder",
    "codec/emoji": "emoji",
    "codec/audio": "audio_folder",
    "image/folder_latent": "image_folder",
    "image/emoji_latent": "emoji",
    "image/scenes_latent": "emoji_scenes",
    "audio/folder_latent": "audio_folder",
    "audio/drums_latent": "drums",
    "image/digits": "digits",
    "image/digits_consistency": "digits",
    "image/digits_consistency_continuous": "digits",
    "image/digits_guided": "digits",
    "image/digits_mean_flow": "digits",
    "image/digits_matching": "digits",
    "image/digits_steps": "digits",
    "image/folder": "image_folder",
    "image/emoji_text": "emoji",
    "image/scenes_text": "emoji_scenes",
    "audio/drums": "drums",
    "audio/drums_text": "drums",
    "audio/folder": "audio_folder",
    "audio/sc09": "speech_commands",
    "shape/furniture": "furniture",
    "shape/furniture_text": "furniture",
    "shape/mesh_folder": "mesh_folder",
    "shape/shapenet": "shapenet_points",
}

STUDENTS = (
    "image/digits_consistency_continuous",
    "image/digits_guided",
    "image/digits_matching",
    "image/digits_steps",
)
"""Those that need a teacher, of experiment=image/digits."""


@pytest.fixture(scope="module")
def codec(data, tmp_path_factory):
    """A codec of a modality, trained for two steps."""
    made = {}

    def directory(modality):
        if modality not in made:
            folder = tmp_path_factory.mktemp("codec")
            option = {"image": "image_folder", "audio": "drums"}[modality]
            train(folder, [*codec_overrides(data, modality, option), "run_dir=codec"])
            made[modality] = folder / "codec"
        return made[modality]

    return directory


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments(name, data, teacher, codec, tmp_path):
    """As shipped, apart from the data, the size of the batches and the number of steps."""
    own = [override for override in data[EXPERIMENTS[name]][1] if not override.startswith("modality.")]
    few, further = few_steps(EXPERIMENTS[name]), []
    if name.startswith("codec/"):
        few = [override for override in few if not override.startswith("sampler")]
        own += SMALL_FEATURES[name.removeprefix("codec/").replace("emoji", "image")]
    if name.endswith("_latent"):
        further = [f"codec.path={codec(name.split('/')[0])}"]
    if name in STUDENTS:
        further = [f"teacher={teacher('image/digits', ['experiment=image/digits', *few])}"]
    train(tmp_path, [f"experiment={name}", *own, *few, *further, "trainer.max_steps=1", "run_dir=run"])
