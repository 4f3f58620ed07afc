"""A training step of a LoRA on a tiny Stable Diffusion XL, compared with the loop of diffusers' example script.

    python benchmarks/lora_step.py --json lora_step.json

Theirs is the loop of examples/text_to_image/train_text_to_image_lora_sdxl.py, in which each step encodes its pictures
and prompts, and once more with both encoded before, as other scripts do. Ours is the whole step of `multidiff train`:
Lightning, cached latents and texts, and the moving average, which the script lacks. Same network, rank, targets, batch
and optimiser, of random weights, on one thread of a CPU; seconds of that thread, medians over steps and rounds.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import peft
import torch
from PIL import Image

from multidiff.configuration import compose
from multidiff.training.module import DiffusionModule
from multidiff.training.train import train
from tests.pretrained import folders

RANK, BATCH, SIDE, RATE, FIRST = 16, 4, 32, 1e-4, 5
TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


def saved(folder: Path, width: int) -> None:
    """A Stable Diffusion XL whose U-Net has ``width`` channels in its first block."""
    torch.manual_seed(0)
    network = diffusers.UNet2DConditionModel(
        sample_size=SIDE // 2, block_out_channels=(width, 2 * width), layers_per_block=1, cross_attention_dim=40,
        norm_num_groups=8, attention_head_dim=8, addition_embed_type="text_time", addition_time_embed_dim=8,
        use_linear_projection=True, projection_class_embeddings_input_dim=12 + 6 * 8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    folders.stable_diffusion_xl(folder)
    network.save_pretrained(folder / "unet")


def pictures(folder: Path) -> None:
    folder.mkdir()
    for i in range(2 * BATCH):
        pixels = np.random.default_rng(i).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"fox {i}")


def ours(folder: Path, data: Path, run: Path, steps: int) -> float:
    """Seconds a step."""
    began: list[float] = []
    DiffusionModule.on_train_batch_start = lambda *_: began.append(time.process_time())  # type: ignore[assignment]
    quiet = ("callbacks.previews.every=0", "trainer.val_check_interval=100000", "logger=[]", "data.buckets=null")
    alike = (f"tuning.rank={RANK}", f"loader.batch_size={BATCH}", f"optimizer.lr={RATE}", "trainer.precision=32-true")
    given = (
        f"pretrained={folder}",
        f"data.root={data}",
        f"data.size={SIDE}",
        f"run_dir={run}",
        "trainer.accelerator=cpu",
    )
    train(compose(["experiment=image/lora", *quiet, *alike, *given, f"trainer.max_steps={steps}"]))
    return statistics.median(after - before for before, after in pairwise(began[FIRST:]))


def theirs(folder: Path, steps: int, encoded: bool) -> float:
    """Seconds a step of the script; ``encoded``: of pictures and prompts that were encoded before."""
    pipeline = diffusers.StableDiffusionXLPipeline.from_pretrained(folder, add_watermarker=False)
    network, scheduler = pipeline.unet, diffusers.DDPMScheduler.from_config(pipeline.scheduler.config)
    for part in (network, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2):
        part.requires_grad_(False)
    network.add_adapter(peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules=TARGETS))
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE)
    pixels, prompts = torch.rand(BATCH, 3, SIDE, SIDE) * 2 - 1, [f"fox {i}" for i in range(BATCH)]
    sizes = torch.tensor([[SIDE, SIDE, 0, 0, SIDE, SIDE]] * BATCH, dtype=torch.float32)

    def encode() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        latents = pipeline.vae.encode(pixels).latent_dist.sample() * pipeline.vae.config.scaling_factor
        tokens, _, vector, _ = pipeline.encode_prompt(prompts, device="cpu", do_classifier_free_guidance=False)
        return latents, tokens, vector

    known, durations = encode(), []
    for _ in range(steps):
        began = time.process_time()
        latents, tokens, vector = known if encoded else encode()
        noise, timesteps = torch.randn_like(latents), torch.randint(0, 1000, (BATCH,))
        noisy, further = scheduler.add_noise(latents, noise, timesteps), {"text_embeds": vector, "time_ids": sizes}
        output = network(noisy, timesteps, tokens, added_cond_kwargs=further).sample
        torch.nn.functional.mse_loss(output.float(), noise.float()).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        durations.append(time.process_time() - began)
    return statistics.median(durations[FIRST:])


def measured(width: int, steps: int, rounds: int) -> dict[str, list[float]]:
    """Seconds a step by loop and round, in turns."""
    found: dict[str, list[float]] = {"ours": [], "diffusers": [], "diffusers, encoded before": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder, data = Path(temporary) / "xl", Path(temporary) / "pictures"
        saved(folder, width)
        pictures(data)
        for number in range(rounds):
            found["ours"].append(ours(folder, data, Path(temporary) / f"run{number}", steps))
            found["diffusers"].append(theirs(folder, steps, encoded=False))
            found["diffusers, encoded before"].append(theirs(folder, steps, encoded=True))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    times = measured(options.width, options.steps, options.rounds)
    result: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers", "peft")},
        "threads": 1,
        "dtype": "float32",
        "batch": BATCH,
        "seconds": {name: statistics.median(values) for name, values in times.items()},
        "ratios": {
            name: statistics.median(mine / other for mine, other in zip(times["ours"], values, strict=True))
            for name, values in times.items()
            if name != "ours"
        },
    }
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
