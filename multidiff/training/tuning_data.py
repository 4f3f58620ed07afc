"""The pictures that a pretrained pipeline trains on, with a caption each, and those that keep what it knew."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from multidiff.configuration import instantiate
from multidiff.data.dataset import Dataset
from multidiff.data.joined import Joined
from multidiff.errors import InputError
from multidiff.modality import Modality
from multidiff.training.settings import check_missing


def tuning_data(dataset: Dataset, settings: Mapping[str, Any], modality: Modality[Any]) -> Dataset:
    """The training data: ``dataset``, joined with the pictures in ``prior.root`` if there is one.

    Such pictures show the kind of thing that the new one is, as the pipeline generates it, so that it does not take
    everything of that kind for the new one. Ruiz et al. (2022), section 3.2, https://arxiv.org/abs/2208.12242.

    Args:
        dataset: the new pictures.
        settings: of the training: ``caption`` and ``prior``.
        modality: of both.

    Raises:
        InputError: too many pictures have no caption, or the others cannot be used.
    """
    _caption(dataset, settings.get("caption"), "caption", settings["max_missing"])
    prior = settings.get("prior")
    if prior is None or prior["root"] is None:
        return dataset
    if not Path(str(prior["root"])).expanduser().is_dir():
        raise InputError(f"no folder {prior['root']}: set prior.root to one that exists")
    known = instantiate(Dataset, {**settings["data"], "root": prior["root"]}, modality=modality)
    _caption(known, prior["caption"], "prior.caption", settings["max_missing"])
    return Joined(dataset, known, prior["share"])


def _caption(dataset: Dataset, caption: Any, setting: str, most: float) -> None:
    """Give samples without a caption that of a setting.

    Raises:
        InputError: there is none, and too many samples lack one.
    """
    captions: Sequence[Any] = dataset.fields.get("caption") or [None] * len(dataset)
    if caption is not None:
        captions = [text or str(caption) for text in captions]
    dataset.fields = {**dataset.fields, "caption": captions}
    if not any(captions):
        raise InputError(
            f"no picture has a caption: put NAME.txt beside each, or give {setting}='a photo of ...', with a rare word "
            "such as sks for something new"
        )
    check_missing(dataset.fields, ("caption",), most)
