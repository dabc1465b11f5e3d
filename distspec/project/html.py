"""Notebook representation of a project: its state, a table of the classes and a small map of the spectra."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np
import pyarrow as pa

from distspec.core.colors import class_color
from distspec.operations.status import ProjectStatus
from distspec.project.tables import CatalogTable, format_html_table

MAP_SIZE, MAP_MARGIN = 320, 6
"""Width and height of the map, and its margin [pixels]."""
MAX_MAP_POINTS = 2000
"""Largest number of spectra that the map shows."""
CLASS_COLUMNS = ("class_id", "class_name", "n_spectra", "n_sources")


def format_project(root: str, status: ProjectStatus, tables: Mapping[str, CatalogTable]) -> str:
    """Return a project as HTML.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    status : ProjectStatus
        State of the project, one line for each item.
    tables : mapping of str to CatalogTable
        Tables of the catalog, of which ``classes`` and ``objects`` are shown; empty: nothing is published.
    """
    title = f"<p><b>distspec project</b> {escape(root)}</p>"
    if not tables:
        return title + format_html_table(("", ""), status.lines().items())
    classes = tables["classes"].to_arrow([*CLASS_COLUMNS, "cluster_label"]).sort_by("cluster_label")
    rows = [
        [row[name] if row[name] is not None else "noise" for name in CLASS_COLUMNS]
        for row in classes.to_pylist()
    ]
    left = format_html_table(CLASS_COLUMNS, rows)
    right = format_map(tables["objects"].to_arrow(["umap_0", "umap_1", "cluster_label"]))
    state = format_html_table(("", ""), status.lines().items())
    return f'{title}<div style="display:flex;gap:2em;align-items:flex-start">{left}{right}</div>{state}'


def format_map(objects: pa.Table) -> str:
    """Return the map of the spectra as an SVG image, with one color per class.

    Parameters
    ----------
    objects : Table
        Columns umap_0, umap_1 and cluster_label.
    """
    step = max(1, -(-len(objects) // MAX_MAP_POINTS))
    points = np.stack([objects[name].to_numpy()[::step] for name in ("umap_0", "umap_1")], axis=1)
    labels = objects["cluster_label"].to_numpy()[::step]
    low = points.min(axis=0, initial=np.inf)
    extent = max(float((points.max(axis=0, initial=-np.inf) - low).max(initial=0.0)), 1e-9)
    places = MAP_MARGIN + (points - low) / extent * (MAP_SIZE - 2 * MAP_MARGIN)
    circles = "".join(
        f'<circle cx="{x:.1f}" cy="{MAP_SIZE - y:.1f}" r="1.5" fill="{class_color(int(label))}"/>'
        for (x, y), label in zip(places, labels, strict=True)
    )
    return f'<svg width="{MAP_SIZE}" height="{MAP_SIZE}" role="img" aria-label="map">{circles}</svg>'
