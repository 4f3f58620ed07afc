"""The length of PLY files, whose missing rows trimesh may take for empty ones."""

import re

from modalities.shape.sizes import check_claim

BYTES = {b"char": 1, b"uchar": 1, b"short": 2, b"ushort": 2, b"int": 4, b"uint": 4, b"float": 4, b"double": 8}
BYTES |= {b"int8": 1, b"uint8": 1, b"int16": 2, b"uint16": 2, b"int32": 4, b"uint32": 4, b"float32": 4, b"float64": 8}
"""Sizes of the types, under both of their names."""


def whole(content: bytes) -> bytes:
    """A PLY that has as many rows as its header claims: if it is binary, unless all of its lists are empty.

    Raises:
        InputError: it is truncated.
    """
    header, end, body = content.partition(b"end_header")
    if end and re.search(rb"^format ascii", header, re.MULTILINE):
        claimed = sum(map(int, re.findall(rb"^element \S+ (\d+)", header, re.MULTILINE)))
        check_claim(claimed, sum(1 for line in body.splitlines() if line.strip()), "rows")
    elif end:
        check_claim(_least(header), len(body) - 1, "bytes")  # after the end of the line
    return content


def _least(header: bytes) -> int:
    """The fewest bytes that a binary body may have."""
    total = rows = 0
    for kind, first, second in re.findall(rb"^(element|property) (\S+) (\S+)", header, re.MULTILINE):
        if kind == b"element":
            rows = int(second)
        else:
            total += rows * BYTES.get(second if first == b"list" else first, 1)
    return total
