"""Which samples train and which validate."""

import numpy as np

from multidiff.errors import InputError


def split(count: int, holdout: float, seed: int, shards: np.ndarray | None = None) -> tuple[list[int], list[int]]:
    """The sorted indices that train, and those held out: ``holdout`` of all, at least one, chosen by ``seed``.

    Args:
        count: of samples.
        holdout: fraction, in (0, 1).
        seed: decides.
        shards: number of the shard of each sample, ``(count,)``: those held out then lie in as few shards as can be.

    Raises:
        InputError: there is nothing to hold out, or nothing would be left.
    """
    if not 0 < holdout < 1:
        raise InputError(f"loader.holdout is the fraction of data that validates, between 0 and 1, got {holdout}")
    if count < 2:
        raise InputError(f"training needs at least 2 samples, one to hold out, and there are {count}")
    random = np.random.default_rng(seed)
    order = random.permutation(count)
    if shards is not None:
        place = random.permutation(int(shards.max()) + 1)
        order = order[np.argsort(place[shards[order]], kind="stable")]
    held_out = min(max(1, round(holdout * count)), count - 1)
    return sorted(order[held_out:].tolist()), sorted(order[:held_out].tolist())
