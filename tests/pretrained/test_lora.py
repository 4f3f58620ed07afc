"""LoRAs of three dialects are the same dense update; what does not match is refused by name."""

import diffusers
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

import multidiff
from multidiff.errors import InputError
from multidiff.pretrained.lora import SAVED, fuse
from tests.pretrained import folders

UNET, TEXT = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", "encoder.layers.0.self_attn.q_proj"
CONV, RANK, ALPHA = "conv_in", 2, 3.0


@pytest.fixture
def model(saved):
    return multidiff.load(saved[0], "cpu").model


def layers(model):
    encoder = model.conditioner.parts["caption"].towers[0].encoder.module
    return {
        UNET: model.denoiser.network.get_submodule(UNET),
        CONV: model.denoiser.network.get_submodule(CONV),
        TEXT: encoder.get_submodule(TEXT),
    }


def low_rank(layer):
    """Factors of an update of ``layer``, and the update."""
    down, up = torch.randn(RANK, *layer.weight.shape[1:]), torch.randn(len(layer.weight), RANK)
    dense = (up @ down.flatten(1)).reshape(layer.weight.shape) * (ALPHA / RANK)
    return down, up.reshape(*up.shape, *[1] * (layer.weight.ndim - 2)), dense


KOHYA = "lora_{short}_{flat}"
DIALECTS = {
    "diffusers": ("{part}.{name}.lora_A.weight", "{part}.{name}.lora_B.weight", "{part}.{name}.alpha"),
    "old_diffusers": ("{part}.{name}.lora.down.weight", "{part}.{name}.lora.up.weight", "{part}.{name}.alpha"),
    "kohya": (
        "lora_{short}_{flat}.lora_down.weight",
        "lora_{short}_{flat}.lora_up.weight",
        "lora_{short}_{flat}.alpha",
    ),
}


def keys(dialect, name):
    text = name == TEXT
    full = f"text_model.{name}" if text else name
    spelling = {"part": "text_encoder" if text else "unet", "short": "te" if text else "unet"}
    return [key.format(name=full, flat=full.replace(".", "_"), **spelling) for key in DIALECTS[dialect]]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_dialect_is_the_dense_update_and_undoing_it_restores_every_bit(model, dialect, tmp_path):
    before = {name: layer.weight.clone() for name, layer in layers(model).items()}
    state, dense = {}, {}
    for name, layer in layers(model).items():
        down, up, dense[name] = low_rank(layer)
        state |= dict(zip(keys(dialect, name), (down, up, torch.tensor(ALPHA)), strict=True))
    save_file(state, tmp_path / "style.safetensors")
    fused = fuse(model, tmp_path / "style.safetensors", 0.7)
    for name, layer in layers(model).items():
        assert torch.allclose(layer.weight, before[name] + 0.7 * dense[name], atol=1e-5)
    fused.undo()
    assert all(torch.equal(layer.weight, before[name]) for name, layer in layers(model).items())


def test_kohya_names_the_layers_of_sdxl_as_the_original_code(model, tmp_path):
    names = {CONV: "lora_unet_input_blocks_0_0", UNET: "lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_q"}
    before = {name: layers(model)[name].weight.clone() for name in names}
    state, dense = {}, {}
    for name, key in names.items():
        down, up, dense[name] = low_rank(layers(model)[name])
        state |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(ALPHA)}
    save_file(state, tmp_path / "style.safetensors")
    fuse(model, tmp_path / "style.safetensors")
    for name, weight in before.items():
        assert torch.allclose(layers(model)[name].weight, weight + dense[name], atol=1e-5)


@pytest.mark.parametrize("alpha", [RANK, 5.0])
def test_it_equals_peft(model, alpha, tmp_path):
    theirs = folders.unet()
    theirs.load_state_dict(model.denoiser.network.state_dict())
    adapted = get_peft_model(theirs, LoraConfig(r=RANK, lora_alpha=alpha, target_modules=["to_q", "to_v"]))
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter)
    adapted.save_pretrained(tmp_path)
    fuse(model, tmp_path)
    x, tokens = torch.randn(1, 4, 8, 8), torch.randn(1, 5, 16)
    with torch.no_grad():
        ours, expected = (net(x, 10, tokens).sample for net in (model.denoiser.network, adapted))
    assert torch.allclose(ours, expected, atol=1e-4)


def test_a_file_of_diffusers_states_its_alpha(saved, model, tmp_path):
    before = model.denoiser.network.get_submodule(UNET).weight.clone()
    down, up, dense = low_rank(layers(model)[UNET])
    factors = {f"{UNET}.lora_A.weight": down, f"{UNET}.lora_B.weight": up}
    diffusers.StableDiffusionPipeline.save_lora_weights(
        tmp_path, unet_lora_layers=factors, unet_lora_adapter_metadata={"r": RANK, "lora_alpha": ALPHA}
    )
    fuse(model, tmp_path / "pytorch_lora_weights.safetensors")
    assert torch.allclose(model.denoiser.network.get_submodule(UNET).weight, before + dense, atol=1e-5)


def test_a_pipeline_with_a_lora_has_its_own_hash(saved, tmp_path):
    down, up, _ = low_rank(layers(multidiff.load(saved[0], "cpu").model)[UNET])
    path = tmp_path / "style.safetensors"
    save_file({f"unet.{UNET}.lora_A.weight": down, f"unet.{UNET}.lora_B.weight": up}, path)
    hashes = [multidiff.load(saved[0], "cpu", lora=lora).sha256 for lora in (None, {str(path): 1}, {str(path): 0.5})]
    assert len(set(hashes)) == 3
    with pytest.raises(InputError, match="weight of a LoRA is a finite number"):
        multidiff.load(saved[0], "cpu", lora={str(path): float("nan")})


def test_the_folder_of_a_lora_stands_for_its_file(saved, tmp_path):
    down, up, _ = low_rank(layers(multidiff.load(saved[0], "cpu").model)[UNET])
    state = {f"unet.{UNET}.lora_A.weight": down, f"unet.{UNET}.lora_B.weight": up}
    for name in SAVED:
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        save_file(state, folder / name)
        by_folder, by_file = (
            multidiff.load(saved[0], "cpu", lora={str(path): 0.5}) for path in (folder, folder / name)
        )
        assert by_folder.sha256 == by_file.sha256
        assert by_folder.lora == by_file.lora
        assert [lora["file"] for lora in by_folder.lora] == [str(folder / name)]


def test_a_folder_without_a_lora_is_refused(model, tmp_path):
    with pytest.raises(InputError, match=r"holds no LoRA: it has none of adapter_model\.safetensors, "):
        fuse(model, tmp_path)
    (tmp_path / "pytorch_lora_weights.bin").touch()
    with pytest.raises(InputError, match=r"pytorch_lora_weights\.bin is a pickle"):
        fuse(model, tmp_path)


def factors(layer, down, up):
    return {f"unet.{layer}.lora_A.weight": down, f"unet.{layer}.lora_B.weight": up}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            {"unet.nowhere.lora_A.weight": (2, 3), "unet.nowhere.lora_B.weight": (3, 2)},
            r"1 of its 1 layers .*: unet.nowhere",
        ),
        (
            {f"unet.{UNET}.lora_A.weight": (2, 3), f"unet.{UNET}.lora_B.weight": (3, 2)},
            r"has the shape \(16, 16\) here",
        ),
        (factors(UNET, (2, 3), (3, 3)), "has shapes of no low-rank update"),
        ({f"unet.{UNET}.lora_A.weight": (2, 3)}, f"is not a LoRA of PEFT, diffusers or kohya: 1 keys .*: unet.{UNET}"),
        ({f"unet.{UNET}.hada_w1_a": (2, 3)}, "1 keys are unknown: .*hada_w1_a"),
    ],
)
def test_what_is_no_lora_of_this_model_is_refused(model, tmp_path, state, message):
    save_file({key: torch.zeros(shape) for key, shape in state.items()}, tmp_path / "style.safetensors")
    with pytest.raises(InputError, match=message):
        fuse(model, tmp_path / "style.safetensors")


def test_a_damaged_file_a_pickle_and_a_missing_file_are_refused(model, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"1234")
    (tmp_path / "a.pt").write_bytes(b"1234")
    for name, message in {"a.safetensors": "damaged", "a.pt": "is a pickle", "b.safetensors": "no LoRA at"}.items():
        with pytest.raises(InputError, match=message):
            fuse(model, tmp_path / name)
