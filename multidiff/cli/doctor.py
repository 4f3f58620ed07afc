"""multidiff doctor: the machine, the installed packages, and the settings that training will use."""

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

PACKAGES = {
    "schedulefree": "optimizer=schedule_free",
    "bitsandbytes": "optimizer=adamw_8bit",
    "wandb": "logger=wandb",
    "mlflow": "logger=mlflow",
    "webdataset": "tar shards",
    "datasets": "Hugging Face datasets",
    "hydra-joblib-launcher": "parallel sweeps",
    "hydra-submitit-launcher": "sweeps under SLURM",
    "torch-fidelity": "--features inception",
    "transformers": "--features dinov2 and clip",
    "gradio": "multidiff studio",
    "fast-simplification": "meshes of fewer faces",
    "manifold3d": "repair of meshes",
}
"""Optional packages, and what each is for."""


def doctor() -> None:
    """Show the machine and how training will use it."""
    from rich.console import Console
    from rich.table import Table

    console = Console(markup=False)
    for title, rows in (("machine", machine()), ("versions", versions()), ("training will use", choices())):
        table = Table(title, "", box=None, title_justify="left")
        for name, value in rows:
            table.add_row(name, value)
        console.print(table)
        console.print()


def machine() -> Iterator[tuple[str, str]]:
    """Processor, memory, GPUs."""
    import torch

    from multidiff.data.cache import default_cache
    from multidiff.data.machine import memory, usable_cores
    from multidiff.nn.bfloat16 import instruction_sets
    from multidiff.training import hardware

    yield "processor", hardware.processor()
    yield "cores", f"{usable_cores()} usable, {torch.get_num_threads()} threads"
    yield "memory", f"{memory() / 2**30:.1f} GiB"
    yield "instructions", " ".join(instruction_sets()) or "none of those that speed up training"
    for dtype in (torch.float32, torch.bfloat16):
        yield (
            f"matrices in {dtype}".replace("torch.", ""),
            f"{hardware.matrix_speed(dtype) / 1e9:.0f} GFLOP/s, measured now",
        )
    for i in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(i)
        yield f"GPU {i}", f"{device.name}, {device.total_memory / 2**30:.0f} GiB, {device.major}.{device.minor}"
    if not torch.cuda.is_available():
        yield "GPU", "Apple GPU (MPS)" if torch.backends.mps.is_available() else "none"
    yield "cache", str(default_cache())


def versions() -> Iterator[tuple[str, str]]:
    """Versions of Python and of the packages; for an optional one that is missing, what it is for."""
    yield "python", platform.python_version()
    for name in ("multidiff-toolkit", "torch", "lightning"):
        yield name, _version(name) or "not installed as a package"
    for name, use in PACKAGES.items():
        yield name, _version(name) or f"not installed; it is for {use}"


def choices() -> Iterator[tuple[str, str]]:
    """Settings of speed, by the shipped defaults and the machine."""
    import torch

    from multidiff.configuration import load_option
    from multidiff.data.machine import usable_cores
    from multidiff.training import hardware
    from multidiff.training.speed import decided_precision

    trainer, gpu = load_option("trainer", "default"), torch.cuda.is_available()
    precision = decided_precision(trainer, None)
    reason = "bfloat16 is faster here" if precision == "bf16-mixed" else "bfloat16 is not faster here"
    yield "trainer.precision", f"{precision}: {reason}"
    found = hardware.compiler()
    yield "trainer.compile", f"false; true would compile with {found}" if found else "false; there is no C++ compiler"
    yield "trainer.channels_last", "false; try true for images"
    yield "optimizer", "fused AdamW, one pass over all weights; the moving average too"
    yield (
        "loader",
        f"pinned memory: {'yes' if gpu else 'no GPU to pin for'}; loader.workers up to {usable_cores()}",
    )
    gpus = torch.cuda.device_count()
    yield "strategy", f"trainer=ddp for {gpus} GPUs" if gpus > 1 else "single device"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
