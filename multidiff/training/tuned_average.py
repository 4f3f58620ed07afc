"""The average, of a width that is chosen after training, of a pretrained pipeline that was trained further."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multidiff.configuration import instantiate
from multidiff.modality import Modality
from multidiff.pretrained import Tuning
from multidiff.sampling import model_directory
from multidiff.sampling.pipeline import Pipeline
from multidiff.training.post_hoc import reconstructed, snapshots
from multidiff.weights import fill


def save_tuned_average(run: Path, settings: Mapping[str, Any], width: float, out: Path) -> None:
    """Write what ``run`` trained, averaged with another width, into ``out``: a LoRA, or a folder of diffusers.

    Args:
        run: a run directory with snapshots.
        settings: of the run.
        width: of the average, relative to the length of training.
        out: new.

    Raises:
        InputError: there is none, the width is out of range, or the pipeline is missing or another one.
    """
    kept = snapshots(run)
    tuning, modality = instantiate(Tuning, settings["tuning"]), instantiate(Modality, settings["modality"])
    opened = tuning.open()
    model = tuning.tuned(opened.model)
    fill(model, reconstructed(kept, width), kept[-1].path)
    data_shape = (model.codec.data_shape(opened.shape)[0], *_sides(settings["data"]["size"]))
    pipeline = Pipeline(
        model,
        modality,
        model.codec.shape(data_shape),
        settings.get("sampler") or opened.sampler,
        opened.guidance if settings["guidance"] is None else settings["guidance"],
        modality_config=settings["modality"],
        trained=opened.trained,
    )
    facts = {"steps": kept[-1].updates, "ema_width": width, "base": tuning.path, "base_sha256": tuning.digest}
    model_directory.save(pipeline, settings, out, facts, tuning)


def _sides(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])
