"""The data dictionary, `distspec/CATALOG.md`, made from the schema: ``python -m distspec.catalog.dictionary``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from distspec.core import schema
from distspec.core.schema import Column
from distspec.measurements.definitions import MEASURES
from distspec.measurements.features import reconstructed
from distspec.measurements.measure import measured

FILE = Path(__file__).with_name("CATALOG.md")
OPENING = """# The catalogue's tables

Every column with its type, unit and meaning, and its UCD where it has one. Made from `distspec/schema.py` and
`distspec/measures.py` by `python -m distspec.catalog.dictionary`; `distspec columns --root ROOT` lists a root's own.
"""
TABLES: Mapping[str, tuple[str, Sequence[Column]]] = {
    "objects": ("a row a spectrum; latents (16) and classes as many as there are", schema.objects(1, (), 1)),
    "classes": ("a row a class", schema.classes()),
    "class_medians": ("median spectra: a row a class and wavelength", schema.CLASS_MEDIANS),
    "anomalies": ("the oddest spectra, by rank", schema.ANOMALIES),
    "artefacts": ("the most spoilt spectra, the worst first", schema.SPOILT),
    "changes": ("what became of the classes of the run before, and why", schema.CHANGES),
    "class_ids": ("every class of every run that was published", schema.CLASS_IDS),
    "predictions": (
        "a row a spectrum, where people labelled some; a p_… for every label",
        schema.predictions(["label"]),
    ),
    "label_scores": ("a row a label", schema.LABEL_SCORES),
    "sweep": ("a row a trial of the clustering", schema.SWEEP),
    "nulls": ("a row a trial on structureless data", schema.NULLS),
    "confusion": ("a row a pair of classes", schema.CONFUSION),
    "latents": ("a row a pair of latents", schema.LATENT_PAIRS),
    "quarantine": ("a row a spectrum that could not be used", schema.QUARANTINE),
}


def dictionary() -> str:
    """Return the data dictionary as Markdown."""
    return "\n".join([OPENING, *_tables(), *_measures()])


def _tables() -> Iterator[str]:
    for name, (what, columns) in TABLES.items():
        yield from (f"## {name}\n", f"{what[0].upper()}{what[1:]}.\n", *_rows(columns), "")


def _measures() -> Iterator[str]:
    yield "## Measures in objects\n"
    yield "Those of the spectrum itself, then those of its noise-free reconstruction.\n"
    for kind in MEASURES:
        yield from (f"### Archives of kind `{kind}`\n", *_rows([*measured(kind), *reconstructed(kind)]), "")


def _rows(columns: Sequence[Column]) -> Iterator[str]:
    yield "| column | type | unit | meaning | UCD |\n|---|---|---|---|---|"
    for column in columns:
        unit, ucd = (f"`{text}`" if text else "" for text in (column.unit, column.ucd))
        meaning = column.description.replace("|", "\\|")
        yield f"| `{column.name}` | {column.type} | {unit} | {meaning} | {ucd} |"


if __name__ == "__main__":
    FILE.write_text(dictionary().rstrip("\n") + "\n")
