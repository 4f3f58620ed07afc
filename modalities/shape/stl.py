"""The length of STL files, which trimesh takes for text of no meaning where it does not match."""

from modalities.shape.sizes import check_claim
from multidiff.errors import InputError

HEADER, TRIANGLE = 84, 50
"""Bytes of a binary STL: its header, whose last four are the number of triangles, and a triangle."""


def whole(content: bytes) -> bytes:
    """An STL without the bytes after its triangles.

    Raises:
        InputError: it is truncated.
    """
    if _is_text(content):
        _check_text(content.lower())
        return content
    if len(content) < HEADER:
        return content
    claimed = int.from_bytes(content[HEADER - 4 : HEADER], "little")
    present = (len(content) - HEADER) // TRIANGLE
    check_claim(claimed, present, "triangles")
    return content[: HEADER + claimed * TRIANGLE]


def _is_text(content: bytes) -> bool:
    """Whether this is an ASCII STL; the header of a binary one may begin with "solid" too."""
    start = content[: 2 * HEADER]
    return start.lstrip().lower().startswith(b"solid") and b"\0" not in start


def _check_text(content: bytes) -> None:
    facets = content.count(b"endfacet")
    if b"facet" in content.rpartition(b"endsolid")[2]:
        raise InputError(f"truncated: 'endsolid' is missing after {facets} triangles")
