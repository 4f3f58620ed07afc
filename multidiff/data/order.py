"""The order of an epoch, and its batches."""

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


def batched(groups: np.ndarray, size: int, random: np.random.Generator) -> np.ndarray:
    """A random order of batches of ``size`` samples, each of one group.

    The last batch of a group is filled with samples of it that come again, so all epochs have the same length.

    Args:
        groups: number of the group of each sample, ``(N,)``.
        size: of a batch.
        random: decides.

    Returns:
        Places in ``groups``, a multiple of ``size`` of them.
    """
    batches = []
    for group in np.unique(groups):
        members = random.permutation(np.flatnonzero(groups == group))
        batches.append(np.resize(members, (-(-len(members) // size), size)))
    return random.permutation(np.concatenate(batches)).reshape(-1)


def in_turn(groups: np.ndarray, size: int) -> list[list[int]]:
    """The places of all samples in batches of at most ``size``, each of one group."""
    members = [np.flatnonzero(groups == group).tolist() for group in np.unique(groups)]
    return [rows[start : start + size] for rows in members for start in range(0, len(rows), size)]
