"""Signed distances to meshes by libigl: exact to the triangles, negative where the winding number says inside.

The winding number of a closed mesh is 1 inside and 0 outside; of an open one, it changes smoothly across the holes, so
that the half is a plausible lid. Jacobson et al. (2013), https://doi.org/10.1145/2461912.2461916, in the fast form of
Barill et al. (2018), https://doi.org/10.1145/3197517.3201337.
"""

from types import ModuleType

import numpy as np
import trimesh

from modalities.shape.cloud import PointCloud
from modalities.shape.files import sample_surface
from modalities.shape.welding import welded
from multidiff.errors import InputError

INSTALL = "pip install 'multidiff-toolkit[mesh]'"

INSIDE = 0.5
"""Winding number above which a point is inside."""

PROBE = 0.002
"""Distance from the surface at which its two sides are tested, in the scale of shapes between -1 and 1."""

DECIDED = 0.9
"""Smallest part of the visible surface that has to separate inside from outside."""

PROBED = 2048
"""Points of the surface that are tested."""


def signed_distances(mesh: trimesh.Trimesh, points: np.ndarray) -> np.ndarray:
    """Distances from ``points``, ``(N, 3)``, to the surface of ``mesh``, negative inside, ``(N,)`` in float32.

    Raises:
        InputError: libigl is missing.
    """
    return np.where(inside(mesh, points), -1, 1) * distances(mesh, points)


def distances(mesh: trimesh.Trimesh, points: np.ndarray) -> np.ndarray:
    """Distances from ``points``, ``(N, 3)``, to the triangles of ``mesh``, ``(N,)`` in float32.

    Raises:
        InputError: libigl is missing.
    """
    return nearest_faces(mesh, points)[0]


def nearest_faces(mesh: trimesh.Trimesh, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The `distances` and the numbers of the nearest triangles, ``(N,)`` each.

    Raises:
        InputError: libigl is missing.
    """
    squares, faces, _ = _igl().point_mesh_squared_distance(_doubles(points), *_arrays(mesh))
    return np.sqrt(squares).astype(np.float32), faces


def inside(mesh: trimesh.Trimesh, points: np.ndarray) -> np.ndarray:
    """Whether each of ``points``, ``(N, 3)``, is inside of ``mesh``, ``(N,)``; see the head of this module."""
    return _igl().fast_winding_number(*_arrays(mesh), _doubles(points)) > INSIDE


def visible_surface(mesh: trimesh.Trimesh, count: int, random: np.random.Generator) -> PointCloud:
    """``count`` points with normals on the boundary of the inside of ``mesh``, uniform by area.

    Surfaces inside of other parts, as in an assembly of overlapping solids, are left out.

    Raises:
        InputError: no sign can be decided: less than `DECIDED` of the surface that is outside of all parts has the
            inside on one side only, as in a sheet, or in a mesh whose faces are turned at random.
    """
    cloud = sample_surface(mesh, max(count, PROBED), random, colours=False)
    within, beyond = _sides(mesh, cloud)
    hidden, separating = within & beyond, within & ~beyond
    share = float(separating.sum() / max(1, (~hidden).sum()))
    if share < DECIDED:
        raise InputError(
            f"winding numbers cannot tell inside from outside: {share:.0%} of its surface separates them, and "
            f"{DECIDED:.0%} is needed; close its holes and turn its faces outwards"
        )
    kept = [cloud[separating]]
    while sum(map(len, kept)) < count:
        more = sample_surface(mesh, count, random, colours=False)
        within, beyond = _sides(mesh, more)
        kept.append(more[within & ~beyond])
    return PointCloud.from_rows(np.concatenate([part.rows(6) for part in kept])[:count])


def united(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """The union of the bodies of ``mesh`` if there are several and all are closed; otherwise ``mesh`` itself.

    Inside of overlapping bodies, distances are then to the boundary of the union, not to hidden surfaces.
    """
    solid = welded(mesh)
    if not solid.is_volume or solid.body_count == 1:
        return mesh
    bodies = solid.split(only_watertight=False)
    if not all(body.is_volume for body in bodies):
        return mesh
    try:
        whole = trimesh.boolean.union(bodies, engine="manifold")
    except (ImportError, ValueError):
        return mesh
    return whole if len(whole.faces) else mesh


def _sides(mesh: trimesh.Trimesh, cloud: PointCloud) -> tuple[np.ndarray, np.ndarray]:
    """Whether the points `PROBE` below and above the surface are inside."""
    offset = PROBE * cloud.rows(6)[:, 3:]
    below, above = np.split(inside(mesh, np.concatenate([cloud.points - offset, cloud.points + offset])), 2)
    return below, above


def _igl() -> ModuleType:
    try:
        import igl  # noqa: PLC0415  of an extra
    except ImportError as error:
        raise InputError(f"signed distances need the package libigl: {INSTALL} ({error})") from error
    return igl


def _arrays(mesh: trimesh.Trimesh) -> tuple[np.ndarray, np.ndarray]:
    return _doubles(mesh.vertices), np.ascontiguousarray(mesh.faces, dtype=np.int64)


def _doubles(points: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(points, dtype=np.float64)
