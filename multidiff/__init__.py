"""MultiDiff: train and sample diffusion models of any modality."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multidiff.diffusion.samplers import sample
    from multidiff.sampling.model_directory import load
    from multidiff.sampling.pipeline import Pipeline

__all__ = ["Pipeline", "load", "sample"]

_HOMES = {
    "Pipeline": "multidiff.sampling.pipeline",
    "load": "multidiff.sampling.model_directory",
    "sample": "multidiff.diffusion.samplers",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that ``multidiff --help`` needs no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'multidiff' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(_HOMES[name]), name)
