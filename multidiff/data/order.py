"""The order of an epoch."""

import numpy as np


def shuffled(shards: np.ndarray, mixed: int, random: np.random.Generator) -> np.ndarray:
    """A random order of samples in which at any place the samples of ``mixed`` shards alternate, and no others.

    Shards come in one by one, in a random order, and each is spread over the time in which ``mixed`` of them come in;
    at the end those that came in at the beginning are met again. With no more shards than are mixed, every order of the
    samples is as likely as any other.

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
