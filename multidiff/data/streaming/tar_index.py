"""An index of a tar, for random access to its samples.

As in WebDataset, a sample consists of consecutive members whose names are equal up to the first dot::

    cats/00012.jpg  cats/00012.cls  cats/00012.txt  cats/00012.json
"""

import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, BinaryIO

from multidiff.configuration import parse_json
from multidiff.data.captions import text_of
from multidiff.data.streaming.remote import INSTALL
from multidiff.errors import InputError

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"(\xb5": "zstandard"}


@dataclass(frozen=True)
class TarIndex:
    """The samples of one tar, in its order.

    Attributes:
        names: of the members that hold the samples.
        offsets: of their contents in the tar, in bytes.
        sizes: of their contents.
        labels: text of the class of each; None where there is none.
        captions: likewise.
        others: number of samples without a member of a supported kind.
        scattered: number of samples of which other members lie elsewhere in the tar.
        unread: a line for each caption that could not be read.
    """

    names: list[str]
    offsets: list[int]
    sizes: list[int]
    labels: list[str | None]
    captions: list[str | None]
    others: int
    scattered: int
    unread: list[str]

    def to_json(self) -> str:
        """The index as a line of text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str, size: int) -> "TarIndex":
        """The inverse of ``to_json``, for a tar of ``size`` bytes.

        Raises:
            InputError: it is not the index of such a tar.
        """
        value = parse_json(text, "a tar index")
        try:
            index = cls(**value)
            columns = (index.names, index.offsets, index.sizes, index.labels, index.captions)
            rows = list(zip(*columns, strict=True))
            inside = all(0 <= offset <= offset + length <= size for _, offset, length, _, _ in rows)
            texts = all(
                isinstance(name, str) and isinstance(a, str | None) and isinstance(b, str | None)
                for name, _, _, a, b in rows
            ) and all(isinstance(line, str) for line in index.unread)
        except (TypeError, ValueError) as error:
            raise InputError(f"a tar index is damaged: {error}") from error
        if not inside or not texts or not type(index.others) is type(index.scattered) is int:
            raise InputError("a tar index is damaged")
        return index


def index_of(tar: BinaryIO, name: str, suffixes: Sequence[str], label: str, caption: str) -> TarIndex:
    """The index of an open tar.

    Args:
        tar: not compressed.
        name: of the tar, for messages.
        suffixes: in lower case, with their dots: of a sample, the first member that has one of them is read.
        label: suffix of the member that holds the class, without its dot; ``json.KEY`` for what a JSON member says.
        caption: likewise, of the caption.

    Raises:
        InputError: it is compressed, truncated or no tar, two members of a sample have one suffix, or a class cannot be
            read.
    """
    try:
        from webdataset.tariterators import group_by_keys  # noqa: PLC0415  of an extra
    except ImportError as error:
        raise InputError(f"tar shards need further packages: {INSTALL} ({error})") from error

    index = TarIndex([], [], [], [], [], 0, 0, [])
    keys: Counter[str] = Counter()
    others = 0
    try:
        for sample in group_by_keys(_members(tar, name)):
            keys[sample["__key__"]] += 1
            members = {suffix: member for suffix, member in sample.items() if isinstance(member, tarfile.TarInfo)}
            read = next((m for s, m in members.items() if f".{s.rpartition('.')[2]}" in suffixes), None)
            if read is None:
                others += 1
                continue
            index.names.append(read.name)
            index.offsets.append(read.offset_data)
            index.sizes.append(read.size)
            index.labels.append(_said(tar, members, label, name))
            try:
                index.captions.append(_said(tar, members, caption, name))
            except InputError as error:
                index.captions.append(None)
                index.unread.append(str(error))
    except InputError:
        raise
    except (tarfile.TarError, OSError, OverflowError) as error:
        raise InputError(f"{name}: {_complaint(tar, error)}") from error
    except ValueError as error:  # webdataset's, of two members with one suffix
        raise InputError(f"{name}: {error.args[0]}") from error
    return replace(index, others=others, scattered=keys.total() - len(keys))


def _members(tar: BinaryIO, name: str) -> Iterator[dict[str, Any]]:
    """The files in the tar, in the form that webdataset groups."""
    with tarfile.open(fileobj=tar, mode="r:") as archive:
        for member in archive:
            archive.members = []  # type: ignore[attr-defined]  # which would grow
            if member.isreg():
                yield {"fname": member.name, "data": member, "__url__": name}
        end = archive.offset
    tar.seek(end)
    if tar.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("the mark at its end is missing")


def _complaint(tar: BinaryIO, error: Exception) -> str:
    tar.seek(0)
    kind = _COMPRESSED.get(tar.read(2))
    if kind:
        return f"compressed ({kind}), so that no sample can be read without those before it: decompress it"
    cut_off = any(sign in str(error) for sign in ("unexpected end", "empty header", "the mark"))
    return "truncated: copy it again from its source" if cut_off else f"not a tar ({error})"


def _said(tar: BinaryIO, members: dict[str, tarfile.TarInfo], where: str, shard: str) -> str | None:
    """The text of the member ``where``; None if there is none."""
    suffix, _, key = where.partition(".")
    member = members.get(suffix)
    if member is None:
        return None
    tar.seek(member.offset_data)
    name = f"{shard}/{member.name}"
    text = text_of(tar.read(member.size), name).strip()
    if not key:
        return text
    found = parse_json(text, name)
    if not isinstance(found, dict):
        raise InputError(f"{name}: not a JSON object")
    value = found.get(key)
    return None if value is None else str(value)
