"""Pretrained pipelines and LoRAs are told without reading their weights."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

import multidiff
from multidiff.cli.inspection import inspected
from multidiff.errors import InputError
from multidiff.pretrained import outline
from tests.pretrained import folders
from tests.pretrained.test_lora import UNET
from tests.pretrained.tuned import tuned


def test_a_folder_is_told_as_it_opens(folder):
    (folder / "README.md").write_text("---\nlicense: openrail++\n---\n# A card\n")
    found, opened = inspected(folder), multidiff.load(folder, "cpu")
    size = sum(weight.numel() for weight in opened.model.denoiser.network.parameters())
    expected = {
        "family": "StableDiffusionPipeline",
        "modality": "image",
        "samples": " x ".join(map(str, opened.data_shape)),
        "sampling": f"{opened.sampler['name']}, {opened.sampler['steps']} steps, guidance {opened.guidance:g}",
        "unet": f"UNet2DConditionModel, {size:,} parameters",
        "licence": "openrail++",
        "card": str(folder / "README.md"),
    }
    assert found.kind == "a pretrained pipeline"
    assert expected.items() <= found.facts.items()
    assert not found.problems
    assert not found.text
    with pytest.raises(InputError, match="multidiff sample"):
        found.picture()


def test_no_weight_of_a_folder_is_read(folder):
    assert all(weight.is_meta for network in outline(folder).networks.values() for weight in network.parameters())


@pytest.mark.parametrize("family", ["stable_diffusion_3", "stable_audio"])
def test_other_families_are_told(tmp_path, family):
    getattr(folders, family)(tmp_path / "pipeline")
    found, opened = inspected(tmp_path / "pipeline"), multidiff.load(tmp_path / "pipeline", "cpu")
    assert found.facts["samples"] == " x ".join(map(str, opened.data_shape))
    assert f" {opened.sampler['steps']} steps, guidance {opened.guidance:g}" in found.facts["sampling"]


def test_a_folder_that_lacks_a_part_says_so(folder):
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(InputError, match="vae/ holds no weights"):
        inspected(folder)


DIALECTS = {
    "diffusers": f"unet.{UNET}.lora_{{}}.weight",
    "kohya": f"lora_unet_{UNET.replace('.', '_')}.lora_{{}}.weight",
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_file_of_a_lora(tmp_path, dialect):
    names = ("down", "up") if dialect == "kohya" else ("A", "B")
    down, up = (DIALECTS[dialect].format(name) for name in names)
    state = {down: torch.ones(2, 16), up: torch.ones(16, 2)}
    save_file(state, tmp_path / "style.safetensors", {"ss_base_model_version": "sd_v1"})
    found = inspected(tmp_path / "style.safetensors")
    network, layer = ("lora_unet", "attn1_to_q") if dialect == "kohya" else ("unet", "attn1.to_q")
    expected = {"dialect": dialect, "ranks": "2 (1)", "scale": "1 (1)", "networks": f"{network} (1)"}
    assert found.kind == "a LoRA"
    assert {**expected, "layers": f"{layer} (1)", "trained on": "sd_v1"}.items() <= found.facts.items()


def test_the_folder_of_a_lora_of_peft(tmp_path):
    adapted = get_peft_model(folders.unet(), LoraConfig(r=3, lora_alpha=6, target_modules=["to_q"]))
    adapted.save_pretrained(tmp_path)
    facts = inspected(tmp_path).facts
    assert facts["dialect"] == "PEFT"
    assert facts["ranks"].startswith("3 (")
    assert facts["scale"].startswith("2 (")


def test_a_lora_that_was_trained_here_is_told_with_and_without_its_pipeline(folder, pictures, tmp_path):
    tuned(folder, pictures, tmp_path / "run", "trainer.max_steps=1", "data.size=16")
    assert inspected(tmp_path / "run").kind == "a run of a LoRA that was trained here"
    assert inspected(tmp_path / "run" / "model").facts["dialect"] == "diffusers"
    folder.rename(tmp_path / "elsewhere")
    found = inspected(tmp_path / "run" / "model")
    assert found.facts["dialect"] == "diffusers"
    assert any("with the pipeline elsewhere" in problem for problem in found.problems)
