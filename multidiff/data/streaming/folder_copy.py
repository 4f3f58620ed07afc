"""A local copy of a whole remote folder."""

import fcntl
import hashlib
import shutil
from pathlib import Path

from multidiff.data.cache import writing_to
from multidiff.data.files import member, open_unlinked
from multidiff.data.streaming.remote import GB, File, fetch, files_below, total
from multidiff.errors import InputError


def folder_at(root: str, cache: Path, limit: int) -> Path:
    """``root`` itself, if it is local, else a copy of it in ``cache``, made the first time.

    Args:
        root: path or URL of a folder.
        cache: folder of such copies.
        limit: bytes that all of them together may take.

    Raises:
        InputError: there is no such folder, it cannot be fetched, or there is no room for it.
    """
    if "://" not in root:
        folder = Path(root).expanduser()
        if not folder.is_dir():
            raise InputError(f"no folder {folder}: set data.root to one that exists")
        return folder
    found = files_below(root)
    key = hashlib.sha256(repr(sorted((name, file.stamp) for name, file in found.items())).encode()).hexdigest()
    copy, part = cache / f"copy-{key[:16]}", cache / f"part-{key[:16]}"
    for name in found:
        member(part, name)
    with writing_to(cache), open_unlinked(cache / f"{key[:16]}.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not copy.exists():
            shutil.rmtree(part, ignore_errors=True)
            _check_room(root, list(found.values()), cache, limit)
            for name, file in found.items():
                (part / name).parent.mkdir(parents=True, exist_ok=True)
                with (part / name).open("wb") as into:
                    fetch(file, into)
            part.rename(copy)
    return copy


def _check_room(root: str, files: list[File], cache: Path, limit: int) -> None:
    there = [path.stat().st_size for copy in cache.glob("copy-*") for path in copy.rglob("*") if path.is_file()]
    if sum(there) + total(files) > limit:
        raise InputError(
            f"{root} has {total(files) / GB:.3g} GB, copies of other tables in {cache} have {sum(there) / GB:.3g}, and "
            f"data.cache_limit is {limit / GB:.3g}: raise it, remove copies, or use shards (fetched one by one)"
        )
