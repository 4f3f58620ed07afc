"""LoRAs on the command line: recorded in each file, found again by their contents, and refused in one line."""

import pytest
import torch
from safetensors.torch import save_file

from modalities.image.files import read_metadata
from multidiff.cli.options import weighted_files
from multidiff.cli.sample import run
from multidiff.data.files import sha256
from multidiff.errors import InputError
from multidiff.sampling.reproduce import reproduce_samples
from tests.pretrained.test_lora import UNET

REQUEST = {"prompt": ["a fox"], "steps": 1}


@pytest.fixture
def lora(tmp_path):
    """A LoRA of one layer of the tiny U-Net."""
    path = tmp_path / "style.safetensors"
    torch.manual_seed(3)
    save_file(
        {f"unet.{UNET}.lora_A.weight": torch.randn(2, 16), f"unet.{UNET}.lora_B.weight": torch.randn(16, 2)}, path
    )
    return path


def test_a_file_with_loras_is_reproduced_wherever_they_are(saved, lora, tmp_path):
    out = tmp_path / "out"
    run(str(saved[0]), out, 1, REQUEST, lora={str(lora): 0.5})
    recorded = read_metadata(out / "00000.png")["lora"]
    assert recorded == [{"file": str(lora), "sha256": sha256(lora), "weight": 0.5}]
    assert reproduce_samples(out / "00000.png").equal
    moved = lora.rename(tmp_path / "moved.safetensors")
    with pytest.raises(InputError, match=f"needs the LoRA {lora} .*give it with --lora FILE"):
        reproduce_samples(out)
    assert reproduce_samples(out, lora=[moved]).equal
    (tmp_path / "folder").mkdir()
    in_folder = moved.rename(tmp_path / "folder" / "model.safetensors")
    assert reproduce_samples(out, lora=[in_folder.parent]).equal
    in_folder.rename(out / lora.name)
    assert reproduce_samples(out).equal


def test_a_changed_lora_reproduces_nothing(saved, lora, tmp_path):
    run(str(saved[0]), tmp_path / "out", 1, REQUEST, lora={str(lora): 1.0})
    save_file({f"unet.{UNET}.lora_A.weight": torch.ones(2, 16), f"unet.{UNET}.lora_B.weight": torch.ones(16, 2)}, lora)
    with pytest.raises(InputError, match="needs the LoRA"):
        reproduce_samples(tmp_path / "out", lora=[lora])


def test_the_option_takes_a_file_and_a_weight(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v1:2").touch()
    (tmp_path / "folder:3").mkdir()
    assert weighted_files(None) == {}
    assert weighted_files(["folder:3"]) == {"folder:3": 1.0}
    assert weighted_files(["folder:3:0.5"]) == {"folder:3": 0.5}
    assert weighted_files(["a.safetensors:0.8", "b.safetensors", "c.safetensors:-1e-1", "v1:2"]) == {
        "a.safetensors": 0.8,
        "b.safetensors": 1.0,
        "c.safetensors": -0.1,
        "v1:2": 1.0,
    }
    with pytest.raises(InputError, match="there is no such file, and 'strong' is not a number"):
        weighted_files(["a.safetensors:strong"])
    with pytest.raises(InputError, match="is given twice"):
        weighted_files(["a.safetensors:1", "a.safetensors"])


def test_only_a_pretrained_pipeline_takes_loras(lora, tmp_path):
    with pytest.raises(InputError, match="a LoRA is for a pretrained pipeline"):
        run(str(tmp_path), tmp_path / "out", 1, {"steps": 1}, lora={str(lora): 1.0})
