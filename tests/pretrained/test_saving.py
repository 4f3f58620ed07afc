"""A folder that is opened and saved again has the same bytes; with a LoRA, diffusers opens it with the same latents."""

from pathlib import Path

import diffusers
import pytest
import torch
from safetensors.torch import save_file

import multidiff
from multidiff.errors import InputError
from multidiff.pretrained import save_folder
from tests.pretrained.test_lora import UNET


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_unchanged_folder_has_the_same_bytes(saved, saved_xl, folder, tmp_path):
    half = diffusers.UNet2DConditionModel.from_pretrained(saved[0] / "unet").half()
    half.save_pretrained(folder / "unet", max_shard_size="30KB")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink(missing_ok=True)
    for number, source in enumerate((folder, saved_xl[0])):
        save_folder(multidiff.load(source, "cpu").model, source, tmp_path / str(number))
        assert contents(tmp_path / str(number)) == contents(source)


def test_weights_of_parts_that_are_not_used_stay_and_stale_ones_do_not(folder, tmp_path):
    (folder / "safety_checker").mkdir()
    for name in ("safety_checker/model.safetensors", "unet/diffusion_pytorch_model.bin", "v1-5-pruned.ckpt"):
        (folder / name).write_bytes(b"weights")
    save_folder(multidiff.load(folder, "cpu").model, folder, tmp_path / "again")
    again = contents(tmp_path / "again")
    assert contents(folder).keys() - again.keys() == {
        Path("unet/diffusion_pytorch_model.bin"),
        Path("v1-5-pruned.ckpt"),
    }
    assert again[Path("safety_checker/model.safetensors")] == b"weights"


def test_diffusers_opens_it_with_the_lora_inside(saved, tmp_path):
    factors = {f"unet.{UNET}.lora_A.weight": torch.randn(2, 16), f"unet.{UNET}.lora_B.weight": torch.randn(16, 2)}
    save_file(factors, tmp_path / "style.safetensors")
    ours = multidiff.load(saved[0], "cpu", lora={str(tmp_path / "style.safetensors"): 1.0})
    save_folder(ours.model, saved[0], tmp_path / "sd")
    theirs = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "sd", local_files_only=True)
    state = theirs.unet.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in ours.model.denoiser.network.state_dict().items())
    with pytest.raises(InputError, match="is not an empty folder"):
        save_folder(ours.model, saved[0], tmp_path / "sd")
    with pytest.raises(InputError, match="is not a folder of diffusers"):
        save_folder(ours.model, tmp_path, tmp_path / "other")
