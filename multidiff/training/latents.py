"""Latents of the training data, computed once: a data set of x0 that replaces the data in training."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from multidiff.codecs import Codec
from multidiff.data.cache import generated
from multidiff.data.dataset import Dataset, UnreadableError
from multidiff.data.store import Store
from multidiff.errors import InputError

_BATCH = 32
"""Samples that are encoded at once, at most."""

_VALUES = 2**20
"""Values of the data that are encoded at once, unless one sample has more."""


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
        self.shapes, self.repeats = dataset.shapes, dataset.repeats
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


def cached_latents(codec: Codec, dataset: Dataset, cache: str | None = None) -> LatentDataset | None:
    """The cached latents of ``dataset``, computed now if missing; None if the codec keeps none.

    Args:
        codec: that encodes them.
        dataset: the training data.
        cache: folder, by default that of the user.

    Raises:
        InputError: latents are not finite, or the cache cannot be written.
    """
    if not codec.views:
        return None
    key = {"latents": dict(codec.identity), "content": dataset.content}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    latents = _encoded(codec.to(device), dataset, device)
    folder = Path(cache).expanduser() if cache else None
    store = generated(latents, len(dataset) * codec.views, key, cache=folder)
    if not len(store):
        raise InputError("no sample of the data can be read")
    return LatentDataset(dataset, store, codec.views)


def _encoded(codec: Codec, dataset: Dataset, device: torch.device) -> Iterator[np.ndarray | InputError]:
    """The latents of each view of each sample, or the `InputError` of a sample that cannot be read."""
    count, most = len(dataset) * codec.views, _BATCH if dataset.shapes is None else 1
    batch = max(1, min(most, _VALUES // math.prod(dataset.shape)))
    for start in range(0, count, batch):
        samples = {i: _sample(dataset, *divmod(i, codec.views)) for i in range(start, min(start + batch, count))}
        readable = {i: sample.to(device) for i, sample in samples.items() if isinstance(sample, Tensor)}
        latents = dict(zip(readable, _latents(codec, readable), strict=True))
        yield from (latents[i] if isinstance(sample, Tensor) else sample for i, sample in samples.items())


def _sample(dataset: Dataset, index: int, view: int) -> Tensor | UnreadableError:
    try:
        return dataset.data(index, np.random.default_rng([view, index]))
    except UnreadableError as error:
        return error


def _latents(codec: Codec, samples: Mapping[int, Tensor]) -> Sequence[np.ndarray]:
    """The latents of ``samples``, by source; in an error, of the first sample that has none."""
    if not samples:
        return ()
    try:
        return list(codec.encode(torch.stack(list(samples.values()))).cpu().numpy())
    except InputError:
        for source, sample in samples.items():
            try:
                codec.encode(sample[None])
            except InputError as error:
                raise InputError(f"sample {source // codec.views} of the data: {error}") from error
        raise
