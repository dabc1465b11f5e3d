"""The data dictionary, `distspec/CATALOG.md`, made from the schema: ``python -m distspec.catalog.dictionary``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from distspec.archives.registry import builtin_archives
from distspec.core import schema
from distspec.core.schema import Column
from distspec.measurements.features import list_reconstruction_columns

OUTPUT_PATH = Path(__file__).with_name("CATALOG.md")
PREAMBLE = """# The catalogue's tables

Every column with its type, unit and meaning, and its UCD where it has one. Made from `distspec/schema.py` and
`distspec/measures.py` by `python -m distspec.catalog.dictionary`; `distspec columns --root ROOT` lists a root's own.
"""
TABLE_SCHEMAS: Mapping[str, tuple[str, Sequence[Column]]] = {
    "objects": (
        "a row a spectrum; latents (16) and classes as many as there are",
        schema.build_objects_schema(1, (), 1),
    ),
    "classes": ("a row a class", schema.build_classes_schema()),
    "class_medians": ("median spectra: a row a class and wavelength", schema.CLASS_MEDIANS_SCHEMA),
    "anomalies": ("the oddest spectra, by rank", schema.ANOMALIES_SCHEMA),
    "bad_pixels": ("the most spoilt spectra, the worst first", schema.BAD_PIXELS_SCHEMA),
    "changes": ("what became of the classes of the run before, and why", schema.CLASS_CHANGES_SCHEMA),
    "class_ids": ("every class of every run that was published", schema.CLASS_IDS_SCHEMA),
    "predictions": (
        "a row a spectrum, where people labelled some; a p_… for every label",
        schema.build_label_prediction_schema(["label"]),
    ),
    "label_scores": ("a row a label", schema.LABEL_SCORES_SCHEMA),
    "sweep": ("a row a trial of the clustering", schema.SWEEP_SCHEMA),
    "null_tests": ("a row a trial on structureless data", schema.NULL_TESTS_SCHEMA),
    "confusion": ("a row a pair of classes", schema.CONFUSION_SCHEMA),
    "latent_pairs": ("a row a pair of latents", schema.LATENT_PAIRS_SCHEMA),
    "quarantine": ("a row a spectrum that could not be used", schema.QUARANTINE_SCHEMA),
}


def render_data_dictionary() -> str:
    """Return the data dictionary as Markdown."""
    return "\n".join([PREAMBLE, *_render_tables(), *_render_measurements()])


def _render_tables() -> Iterator[str]:
    for name, (what, columns) in TABLE_SCHEMAS.items():
        yield from (f"## {name}\n", f"{what[0].upper()}{what[1:]}.\n", *_render_columns(columns), "")


def _render_measurements() -> Iterator[str]:
    yield "## Measures in objects\n"
    yield "Those of the spectrum itself, then those of its noise-free reconstruction.\n"
    for kind, archive in builtin_archives().items():
        yield from (
            f"### Archives of kind `{kind}`\n",
            *_render_columns([*archive.measurements.columns, *list_reconstruction_columns(archive.measurements)]),
            "",
        )


def _render_columns(columns: Sequence[Column]) -> Iterator[str]:
    yield "| column | type | unit | meaning | UCD |\n|---|---|---|---|---|"
    for column in columns:
        unit, ucd = (f"`{text}`" if text else "" for text in (column.unit, column.ucd))
        meaning = column.description.replace("|", "\\|")
        yield f"| `{column.name}` | {column.type} | {unit} | {meaning} | {ucd} |"


if __name__ == "__main__":
    OUTPUT_PATH.write_text(render_data_dictionary().rstrip("\n") + "\n")
