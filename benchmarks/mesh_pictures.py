"""A shaded picture of exported meshes: python benchmarks/mesh_pictures.py MESHES --out furniture.png."""

import argparse
import math
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image, ImageDraw

from modalities.shape.files import read_geometry

BACKGROUND, CLAY = (247, 247, 249), np.array([0.93, 0.62, 0.42])
LIGHT = np.array([-0.45, 0.7, 0.56])
"""Direction to the light in camera coordinates: x right, y up, z to the camera."""

OVERSAMPLING = 4


def render(mesh: trimesh.Trimesh, size: int) -> Image.Image:
    """Parallel projection; faces are painted from far to near, each in the shade of the mean of its vertex normals."""
    turn = rotation(20, (1, 0, 0)) @ rotation(-35, (0, 1, 0))
    corners = (mesh.triangles - mesh.bounds.mean(axis=0)) @ turn.T / np.linalg.norm(mesh.extents) * 2
    normals = mesh.vertex_normals[mesh.faces].mean(axis=1) @ turn.T
    normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(min=1e-9)
    diffuse = (normals @ (LIGHT / np.linalg.norm(LIGHT))).clip(0, 1)
    colours = (255 * (CLAY * (0.35 + 0.65 * diffuse)[:, None]) ** (1 / 1.4)).astype(int)
    pixels = size * OVERSAMPLING
    places = (corners[..., :2] * [0.95, -0.95] + 1) / 2 * pixels
    picture = Image.new("RGB", (pixels, pixels), BACKGROUND)
    canvas = ImageDraw.Draw(picture)
    for i in np.argsort(corners[..., 2].mean(axis=1)):
        canvas.polygon(places[i].ravel().tolist(), fill=tuple(colours[i].tolist()))
    return picture.resize((size, size), Image.Resampling.BOX)


def rotation(degrees: float, axis: tuple[int, int, int]) -> np.ndarray:
    return trimesh.transformations.rotation_matrix(math.radians(degrees), axis)[:3, :3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("meshes", type=Path, help="folder of mesh files")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--columns", type=int, default=7)
    parser.add_argument("--count", type=int, default=21, help="the first meshes by name")
    parser.add_argument("--size", type=int, default=150, help="side of each picture in pixels")
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.meshes.iterdir() if path.suffix != ".json")[: arguments.count]
    rows = -(-len(files) // arguments.columns)
    sheet = Image.new("RGB", (arguments.columns * arguments.size, rows * arguments.size), BACKGROUND)
    for i, file in enumerate(files):
        mesh = read_geometry(file)
        assert isinstance(mesh, trimesh.Trimesh), f"{file} holds points alone"
        place = (i % arguments.columns * arguments.size, i // arguments.columns * arguments.size)
        sheet.paste(render(mesh, arguments.size), place)
    sheet.save(arguments.out)


if __name__ == "__main__":
    main()
