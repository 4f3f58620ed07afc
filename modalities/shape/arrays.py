"""Arrays of NumPy in files, read only if the files are as large as their headers claim."""

import math
import zipfile
from io import BytesIO

import numpy as np
from numpy.lib import format as npy

from modalities.shape.sizes import check_claim
from multidiff.modality import File


def read_npy(content: bytes) -> np.ndarray:
    """The array in an NPY file.

    Raises:
        InputError: its header claims more than is there.
        ValueError: it is damaged otherwise.
    """
    file = BytesIO(content)
    header = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = header(file)
    check_claim(math.prod(shape) * dtype.itemsize, len(content) - file.tell(), "bytes")
    return np.load(BytesIO(content), allow_pickle=False)


def read_npz(file: File, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Those arrays of an NPZ file that have the given names, as `read_npy` reads them."""
    with zipfile.ZipFile(file) as archive:
        present = set(archive.namelist())
        return {name: read_npy(archive.read(f"{name}.npy")) for name in names if f"{name}.npy" in present}
