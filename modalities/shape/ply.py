"""The length of text PLY files, whose missing rows trimesh takes for empty ones."""

import re

from modalities.shape.sizes import check_claim


def whole(content: bytes) -> bytes:
    """A PLY, if it is binary or has as many rows as its header claims.

    Raises:
        InputError: it is truncated.
    """
    header, end, body = content.partition(b"end_header")
    if end and re.search(rb"^format ascii", header, re.MULTILINE):
        claimed = sum(map(int, re.findall(rb"^element \S+ (\d+)", header, re.MULTILINE)))
        check_claim(claimed, sum(1 for line in body.splitlines() if line.strip()), "rows")
    return content
