"""The order of an epoch."""

import numpy as np


def shuffled(shards: np.ndarray, mixed: int, random: np.random.Generator) -> np.ndarray:
    """A random order of samples in which only ``mixed`` shards are in use at any position.

    Shards start one by one, in a random order, and the samples of each are spread over the time in which ``mixed``
    shards start; the first shards are used again at the end. If there are at most ``mixed`` shards, all orders of the
    samples are equally likely.

    Args:
        shards: number of the shard of each sample, ``(N,)``.
        mixed: shards at a time, at least 1.
        random: decides.

    Returns:
        Places in ``shards``, ``(N,)``.
    """
    numbers, which = np.unique(shards, return_inverse=True)
    comes_in = random.permutation(len(numbers))[which]
    lasts = min(mixed, len(numbers))
    return np.argsort((comes_in + lasts * random.random(len(shards))) % len(numbers), kind="stable")
