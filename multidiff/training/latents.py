"""Latents of the training data, computed once: a data set of x0 that replaces the data in training."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multidiff.codecs import Codec
from multidiff.codecs.learned import Learned
from multidiff.configuration import instantiate, target_class
from multidiff.data.cache import generated
from multidiff.data.dataset import Dataset, UnreadableError
from multidiff.data.store import Store
from multidiff.errors import InputError


class LatentDataset(Dataset):
    """The latents of a data set, with its fields.

    Args:
        dataset: that was encoded.
        store: the latents; those of view v of sample i come from source ``i * views + v``.
        views: encoded versions of each sample, of which training takes one at random.
    """

    def __init__(self, dataset: Dataset, store: Store, views: int):
        self.fields, self.origin = dataset.fields, store.key
        self.shards, self.mixed = dataset.shards, dataset.mixed  # which decide what is held out
        self.count, self.views, self.store = len(dataset), views, store
        self.shape = tuple(int(side) for side in store.shapes[0])
        self.places = {int(source): place for place, source in enumerate(store.kept)}

    def __len__(self) -> int:
        return self.count

    def data(self, index: int, random: np.random.Generator) -> Tensor:
        sources = range(index * self.views, (index + 1) * self.views)
        known = [self.places[source] for source in sources if source in self.places]
        if not known:
            raise UnreadableError(f"sample {index} could not be read when it was encoded")
        return torch.from_numpy(self.store[known[int(random.integers(len(known)))]].copy())


def cached_latents(settings: Mapping[str, Any], dataset: Dataset) -> LatentDataset | None:
    """The latents of ``dataset`` in the cache, computed now if they are not there; None if the codec keeps none.

    Args:
        settings: of the training, complete.
        dataset: the training data.

    Raises:
        InputError: latents are not finite, or the cache cannot be written.
    """
    if not issubclass(target_class(settings["codec"], Codec), Learned):
        return None
    codec = instantiate(Learned, settings["codec"])
    if not codec.views:
        return None
    key = {
        "latents": {name: settings["codec"][name] for name in ("sha256", "mean", "deviation", "views")},
        "content": dataset.content,
    }
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    make = partial(_encoded, codec, dataset, device)
    store = generated(len(dataset) * codec.views, make, key, cache=_cache(settings["data"]))
    if not len(store):
        raise InputError("no sample of the data can be read")
    return LatentDataset(dataset, store, codec.views)


def _encoded(codec: Learned, dataset: Dataset, device: torch.device, source: int) -> Any:
    """The latents of one view of one sample; an `InputError` in their place if it cannot be read."""
    index, view = divmod(source, codec.views)
    try:
        data = dataset.data(index, np.random.default_rng([view, index]))
    except UnreadableError as error:
        return error
    try:
        return codec.encode(data[None].to(device))[0].cpu().numpy()
    except InputError as error:
        raise InputError(f"sample {index} of the data: {error}") from error


def _cache(data: Mapping[str, Any]) -> Path | None:
    """The folder that the config of the data names for its cache."""
    return None if data.get("cache") is None else Path(data["cache"]).expanduser()
