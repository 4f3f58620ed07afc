"""Learned codecs: fidelity after equal seconds beside a peer, time on latents and on data, memory of large decodes.

Run each part on an idle machine:

    python benchmarks/codecs.py fidelity --data emoji --seconds 1200 --peer --json emoji.json
    python benchmarks/codecs.py fidelity --data emoji --seconds 1200 --bottleneck Bounded --json bounded.json
    python benchmarks/codecs.py fidelity --data drums --seconds 1200 --peer --json drums.json
    python benchmarks/codecs.py speed --json speed.json
    python benchmarks/codecs.py memory --json memory.json

`fidelity` trains a codec and prints the fidelity of held-out samples, that of a linear projection to as many numbers,
and with --peer, for images, that of diffusers' AutoencoderKL of about as many parameters, trained with the same loss
for as long, and for sounds, that of Opus at 48 kbit/s.
`speed` compares one U-Net on 64x64 pixels and on their latents. `memory` decodes 4096x4096 pixels and ten minutes of
44.1 kHz stereo, each in a process of its own, with random weights.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import soundfile
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torchaudio.functional import resample

from multidiff.codecs import KL, Autoencoder
from multidiff.codecs.autoencoder import Locality
from multidiff.codecs.directory import save_codec
from multidiff.codecs.learned import Learned
from multidiff.codecs.losses import Batch
from multidiff.configuration import compose, instantiate, load_option
from multidiff.data.dataset import Unaugmented
from multidiff.training.codec_checks import linear_error, whole_blocks
from multidiff.training.codec_run import CodecRun, build_codec
from multidiff.training.train import fit

QUIET = ("callbacks.previews.every=0", "trainer.max_steps=null", "trainer.val_check_interval=1000000", "logger=csv")
EXPERIMENTS = {
    "emoji": ("codec/emoji",),
    "drums": ("codec/audio", "data=drums"),
    "digits": ("codec/image", "data=digits", "modality.channels=1"),
}
BOTTLENECKS = {
    "KL": (),
    "Bounded": (
        "autoencoder.bottleneck._target_=multidiff.codecs.Bounded",
        "~autoencoder.bottleneck.weight",
        "+autoencoder.bottleneck.noise=0.1",
    ),
}
COMPARED = 64
"""Held-out samples that fidelity is averaged over."""

OPUS_RATE, OPUS_KILOBITS = 48_000, 48.0
"""Samples, and thousands of bits, a second of sound."""


class Peer(Autoencoder):
    """diffusers' AutoencoderKL as an autoencoder of ours, at factor 4."""

    def __init__(self, channels: int, latents: int, widths: tuple[int, ...]):
        from diffusers import AutoencoderKL  # noqa: PLC0415  of the extra `bench`

        network = AutoencoderKL(
            in_channels=channels,
            out_channels=channels,
            down_block_types=("DownEncoderBlock2D",) * len(widths),
            up_block_types=("UpDecoderBlock2D",) * len(widths),
            block_out_channels=widths,
            latent_channels=latents,
            norm_num_groups=8,
        )
        encoder = nn.Sequential(network.encoder, network.quant_conv)
        super().__init__(encoder, KL(latents), nn.Sequential(network.post_quant_conv, network.decoder))
        self.factor = 2 ** (len(widths) - 1)

    def shape(self, data_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.bottleneck.channels, *(side // self.factor for side in data_shape[1:]))

    def data_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (3, *(side * self.factor for side in shape[1:]))


def fidelity(run: CodecRun, decoded: Tensor, data: Tensor) -> dict[str, float]:
    each = [run.modality.fidelity(*pair) for pair in zip(data, decoded, strict=True)]
    return {name: statistics.fmean(values[name] for values in each) for name in each[0]}


def reconstructed(network: Autoencoder, data: Tensor) -> Tensor:
    with torch.no_grad():
        return network.decode(network.encode(data))[..., : data.shape[-1]]


def opus(data: Tensor, rate: int, kilobits: float) -> tuple[Tensor, float]:
    """Sounds ``(N, C, T)`` after Opus, in one file, and the kilobits a second of that file, at most ``kilobits``."""
    count, channels, length = data.shape
    sound = resample(data.transpose(0, 1).flatten(1), rate, OPUS_RATE)
    low, high = 0.0, 1.0  # of libsndfile's compression level, which is linear in the bit rate
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sound.opus"
        for _ in range(12):
            level = (low + high) / 2
            soundfile.write(file, sound.T.numpy(), OPUS_RATE, "OPUS", format="OGG", compression_level=level)
            found = file.stat().st_size * 8 / 1000 / (sound.shape[1] / OPUS_RATE)
            if found > kilobits:
                low = level
            else:
                high, bits = level, found
                decoded = soundfile.read(file, dtype="float32", always_2d=True)[0]
    again = resample(torch.from_numpy(decoded.T.copy()), OPUS_RATE, rate)[:, : count * length]
    return again.reshape(channels, count, length).transpose(0, 1), bits


def trained_peer(run: CodecRun, parameters: int, seconds: float) -> tuple[Autoencoder, int]:
    """The peer nearest in parameters, and its steps within ``seconds``, with our loss, batches, optimiser and rate."""
    candidates = [Peer(run.dataset.shape[0], 4, (w, 2 * w, 2 * w)) for w in (16, 24, 32, 40, 48, 64, 80, 96)]
    network = min(candidates, key=lambda each: abs(size(each) - parameters))
    optimizer = instantiate(Optimizer, run.settings["optimizer"], params=list(network.parameters()))
    rate, cooldown = run.settings["optimizer"]["lr"], run.module.cooldown
    random, steps, began = torch.Generator().manual_seed(0), 0, time.perf_counter()
    data, rows = run.datamodule, torch.tensor(run.datamodule.training)
    samples = Unaugmented(run.dataset)
    while (left := 1 - (time.perf_counter() - began) / seconds) > 0:
        for group in optimizer.param_groups:
            group["lr"] = rate * left / cooldown if left < cooldown else rate
        chosen = rows[torch.randint(len(rows), (data.batch_size,), generator=random)].tolist()
        batch = Batch(torch.stack([samples[row] for row in chosen]), [{}] * len(chosen), steps)
        loss = torch.stack(list(run.module.reconstruction(network, batch, random).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        steps += 1
    return network.eval(), steps


def size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def measure_fidelity(options: argparse.Namespace, folder: str) -> dict[str, Any]:
    experiment, *more = EXPERIMENTS[options.data]
    changes = [*more, *QUIET, *BOTTLENECKS[options.bottleneck], *options.overrides]
    settings = [f"experiment={experiment}", *changes, f"budget={options.seconds:g}s", f"run_dir={folder}/run"]
    run = build_codec(compose(settings))
    steps = fit(run).steps
    network, data = run.module.averaged.eval(), run.held_out(COMPARED)
    where: Locality | None = network.locality
    assert where is not None
    held_out = whole_blocks(data, where.factor)
    found: dict[str, Any] = {
        "ours": {"parameters": size(network), "steps": steps, **fidelity(run, reconstructed(network, data), data)},
        "linear projection": {
            "squared error": linear_error(run.training(512), held_out, where.factor, network.bottleneck.channels)
        },
    }
    with torch.no_grad():
        error = float((network.decode(network.encode(held_out)) - held_out).square().mean())
    found["ours"]["squared error"] = error
    if options.peer and options.data == "drums":
        decoded, kilobits = opus(data, run.settings["modality"]["sample_rate"], OPUS_KILOBITS)
        found["Opus"] = {"kbit/s": kilobits, **fidelity(run, decoded, data)}
    elif options.peer:
        peer, count = trained_peer(run, size(network), options.seconds)
        found["AutoencoderKL"] = {
            "parameters": size(peer),
            "steps": count,
            **fidelity(run, reconstructed(peer, data), data),
        }
    return found


def median_seconds(function: Callable[[], Any], rounds: int) -> float:
    function()
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def measure_speed(options: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Training steps and samples of 20 network evaluations of the default U-Net, at batch 16."""
    codec = random_codec(folder, "image_f4", (3, 64, 64))
    pixels, found = torch.randn(16, 3, 64, 64), {}
    for name, x in (("pixels", pixels), ("latents", codec.encode(pixels))):
        network = instantiate(nn.Module, load_option("backbone", "unet"), channels=x.shape[1])
        log_snr = torch.zeros(len(x))

        def step(network: nn.Module = network, x: Tensor = x, log_snr: Tensor = log_snr) -> None:
            network(x, log_snr).square().mean().backward()

        def sample(network: nn.Module = network, x: Tensor = x, log_snr: Tensor = log_snr, name: str = name) -> None:
            with torch.no_grad():
                for _ in range(20):
                    y = network(x, log_snr)
                if name == "latents":
                    codec.decode(y)

        found[name] = {"step, s": median_seconds(step, options.rounds), "sample, s": median_seconds(sample, 1)}
    found["ratio"] = {key: found["pixels"][key] / found["latents"][key] for key in found["pixels"]}
    return found


def random_codec(folder: str, autoencoder: str, data_shape: tuple[int, ...]) -> Learned:
    """A codec with random weights."""
    kind = "image" if autoencoder.startswith("image") else "audio"
    modality = load_option("modality", kind)
    config = {**load_option("autoencoder", autoencoder), "channels": data_shape[0]}
    network = instantiate(Autoencoder, config)
    settings = {"modality": modality, "autoencoder": config}
    save_codec(network, settings, data_shape, Path(folder) / autoencoder / "model", {"steps": 0})
    return Learned(str(Path(folder) / autoencoder))


LARGE = {"image_f4": (3, 4096, 4096), "image_f8": (3, 4096, 4096), "audio": (2, 600 * 44100)}


def decode_large(name: str, folder: str) -> dict[str, float]:
    """Decode one large sample, and the memory that this process has taken before and at most, in MB."""
    codec = random_codec(folder, name, LARGE[name])
    x0 = torch.randn(1, *codec.shape(LARGE[name]))
    before, began = peak_megabytes(), time.perf_counter()
    codec.decode(x0)
    return {"before, MB": before, "peak, MB": peak_megabytes(), "seconds": time.perf_counter() - began}


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_memory(options: argparse.Namespace, folder: str) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).resolve()), "memory", "--decode"]
    outputs = {
        name: subprocess.run([*command, name], capture_output=True, text=True, check=True).stdout
        for name in options.large
    }
    return {name: json.loads(output.strip().splitlines()[-1]) for name, output in outputs.items()}


PARTS = {"fidelity": measure_fidelity, "speed": measure_speed, "memory": measure_memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("overrides", nargs="*", help="of the training, as for multidiff train")
    parser.add_argument("--data", choices=EXPERIMENTS, default="emoji")
    parser.add_argument("--seconds", type=float, default=1200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", action="store_true", help="also measure AutoencoderKL, or Opus")
    parser.add_argument("--bottleneck", choices=BOTTLENECKS, default="KL")
    parser.add_argument("--large", choices=LARGE, nargs="+", default=list(LARGE))
    parser.add_argument("--decode", choices=LARGE, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.decode:
            print(json.dumps(decode_large(options.decode, folder)))
            return
        found = PARTS[options.part](options, folder)
    machine = {"machine": platform.processor() or platform.machine(), "torch": torch.__version__}
    report = {**machine, "threads": torch.get_num_threads(), **found}
    print(json.dumps(report, indent=2))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
