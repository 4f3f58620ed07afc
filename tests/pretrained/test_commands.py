"""Commands of trained models on runs of pretrained pipelines: a LoRA, and all weights."""

import pytest
import torch
from safetensors.torch import load_file

import multidiff
from multidiff.cli.ema import ema
from multidiff.errors import InputError
from multidiff.evaluation.codec import is_codec_path
from multidiff.evaluation.evaluated import EvaluatedModel
from multidiff.sampling.packing import pack
from tests.pretrained.tuned import tuned

WIDTH = 0.05
"""That of snapshots, so that the reconstructed average is one of them."""


@pytest.fixture(scope="module")
def runs(saved, pictures, tmp_path_factory):
    place = tmp_path_factory.mktemp("commands")
    changes = ("callbacks=snapshots", "trainer.max_steps=3", "data.size=16", "optimizer.lr=0.01", "loader.holdout=0.3")
    for name, further in {"lora": (), "full": ("tuning=full",)}.items():
        tuned(saved[0], pictures, place / name, *changes, *further)
    return place


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lora", "full"])
def test_the_width_of_the_average_is_chosen_after_training(runs, tmp_path, name):
    ema(runs / name, WIDTH, tmp_path / "out")
    snapshot = load_file(next((runs / name / "averages").glob(f"*_{WIDTH:g}.safetensors")))
    if name == "lora":
        written = {
            key.replace("unet.", "denoiser.network.").replace(".weight", ".default.weight"): tensor
            for key, tensor in load_file(tmp_path / "out" / "model.safetensors").items()
        }
    else:
        network = multidiff.load(tmp_path / "out", "cpu").model.denoiser.network
        written = {f"denoiser.network.{key}": tensor for key, tensor in network.state_dict().items()}
    assert written.keys() == snapshot.keys()
    for key, tensor in written.items():
        torch.testing.assert_close(tensor, snapshot[key], atol=1e-6, rtol=1e-5)
    assert multidiff.load(tmp_path / "out", "cpu").sample(
        1, prompt="a fox", steps=1, fields={"height": 16, "width": 16}
    )


@pytest.mark.parametrize("name", ["lora", "full"])
def test_they_are_evaluated_with_the_split_of_their_training(runs, name):
    assert not is_codec_path(str(runs / name))
    assert EvaluatedModel(str(runs / name), torch.device("cpu")).holdout == 0.3


def test_they_are_packed_already(runs, tmp_path):
    with pytest.raises(InputError, match="is a LoRA, which is small"):
        pack(runs / "lora", tmp_path / "packed")
    with pytest.raises(InputError, match="is a pretrained pipeline: pack it with --format diffusers"):
        pack(runs / "full", tmp_path / "packed")
