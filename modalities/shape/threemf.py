"""3MF files of one mesh: those of trimesh are always in millimetres, and each time hold other random identifiers.

https://github.com/3MFConsortium/spec_core/blob/master/3MF%20Core%20Specification.md
"""

import io
import zipfile
from collections.abc import Iterable

import numpy as np
import trimesh

UNITS = {"m": "meter", "cm": "centimeter", "mm": "millimeter", "in": "inch"}
"""Names of the units in a file."""

_CORE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_KIND = "application/vnd.ms-package.3dmanufacturing-3dmodel+xml"
_XML = '<?xml version="1.0" encoding="UTF-8"?>\n'

_TYPES = f"""{_XML}<Types xmlns="{_PACKAGE}/content-types">
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Default Extension="model" ContentType="{_KIND}"/>
</Types>"""

_RELATIONS = f"""{_XML}<Relationships xmlns="{_PACKAGE}/relationships">
<Relationship Target="/3D/3dmodel.model" Id="model" Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"/>
</Relationships>"""

_START = (1980, 1, 1, 0, 0, 0)
"""Time of the members of the archive: equal meshes make equal files."""


def export_3mf(mesh: trimesh.Trimesh, unit: str) -> bytes:
    """A file of ``mesh``, whose coordinates are in ``unit``, one of `UNITS`."""
    vertices = _lines('<vertex x="{!r}" y="{!r}" z="{!r}"/>', mesh.vertices)
    triangles = _lines('<triangle v1="{}" v2="{}" v3="{}"/>', mesh.faces)
    model = f"""{_XML}<model xmlns="{_CORE}" unit="{UNITS[unit]}" xml:lang="en-US">
<resources><object id="1" type="model"><mesh>
<vertices>
{vertices}
</vertices>
<triangles>
{triangles}
</triangles>
</mesh></object></resources>
<build><item objectid="1"/></build>
</model>"""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in {"[Content_Types].xml": _TYPES, "_rels/.rels": _RELATIONS, "3D/3dmodel.model": model}.items():
            archive.writestr(zipfile.ZipInfo(name, _START), text, zipfile.ZIP_DEFLATED)
    return content.getvalue()


def _lines(pattern: str, rows: np.ndarray) -> str:
    """A line for each of the rows ``(N, 3)``."""
    values: Iterable[list[float]] = np.asarray(rows).tolist()
    return "\n".join(pattern.format(*row) for row in values)
