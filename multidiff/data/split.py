"""The split into training and held-out samples."""

import numpy as np

from multidiff.errors import InputError


def split(count: int, holdout: float, seed: int, shards: np.ndarray | None = None) -> tuple[list[int], list[int]]:
    """The sorted indices of training and of held-out samples: ``holdout`` of all, at least one, chosen by ``seed``.

    Args:
        count: of samples.
        holdout: fraction, in (0, 1).
        seed: decides.
        shards: number of the shard of each sample, ``(count,)``: held-out samples come from few of them.

    Raises:
        InputError: either part would be empty.
    """
    if not 0 < holdout < 1:
        raise InputError(f"loader.holdout is the fraction held out for validation, between 0 and 1, got {holdout}")
    if seed < 0:
        raise InputError(f"the seed of the split must be at least 0, got {seed}")
    if count < 2:
        raise InputError(f"training needs at least 2 samples, one to hold out, and there are {count}")
    random = np.random.default_rng(seed)
    order = random.permutation(count)
    if shards is not None:
        place = random.permutation(int(shards.max()) + 1)
        order = order[np.argsort(place[shards[order]], kind="stable")]
    held_out = min(max(1, round(holdout * count)), count - 1)
    return sorted(order[held_out:].tolist()), sorted(order[:held_out].tolist())
