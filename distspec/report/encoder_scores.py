"""Comparison of encoders: classes, leakage and neighbors, each beside permuted values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.archives.registry import get_archive
from distspec.catalog.editions import find_record, open_tables
from distspec.catalog.observations import score_properties
from distspec.core.errors import CatalogError
from distspec.core.schema import Column
from distspec.io.paths import store_url
from distspec.labels.annotations import current_annotations, read_annotations
from distspec.labels.consensus import consensus_labels
from distspec.models.neighbor_scores import (
    MIN_SAMPLE_SIZE,
    compare_neighbors,
    find_neighbors,
    sample_sources,
    score_category,
    select_groups,
)
from distspec.report.encoders import (
    Encoder,
    encode_with_model,
    encode_with_pca,
    read_embedding,
    read_known_classes,
)
from distspec.store.store import open_store

PEOPLE, TYPES = "labels of people", "galaxy_type"


@dataclass(frozen=True)
class ComparedEncoder:
    """An encoder in a comparison.

    Attributes
    ----------
    name, description : str
        As of `distspec.report.encoders.Encoder`.
    n_dimensions : int
        Number of dimensions.
    n_known : int
        Number of spectra of the edition that the encoder has.
    """

    name: str
    description: str
    n_dimensions: int
    n_known: int


@dataclass(frozen=True)
class EncoderComparison:
    """Scores of encoders on the same spectra.

    Attributes
    ----------
    edition : int
        Number of the edition.
    run_id : str
        Run of the edition.
    n_spectra, n_sample : int
        Number of spectra of the edition, and of those that are compared: one of each source that all encoders
        have.
    encoders : tuple of ComparedEncoder
        The encoders.
    scores : Table
        One row per encoder and property: encoder, task ("classes" or "leakage"), and the columns of
        ``leakage``.
    agreement : Table
        One row per pair of encoders: encoder, other_encoder, and the fraction of shared neighbors beside
        that of permuted spectra.
    """

    edition: int
    run_id: str
    n_spectra: int
    n_sample: int
    encoders: tuple[ComparedEncoder, ...]
    scores: pa.Table
    agreement: pa.Table


def compare_encoders(
    root: str, embeddings: Mapping[str, str], classes: str = "", class_column: str = "", seed: int = 0
) -> EncoderComparison:
    """Compare the model of the current edition, weighted PCA and tables of embeddings.

    Parameters
    ----------
    root : str
        Root URL.
    embeddings : mapping of str to str
        Files of embeddings by name; see `distspec.report.encoders.read_embedding`.
    classes : str
        Table of known classes; empty: none.
    class_column : str
        Column of that table; see `distspec.report.encoders.read_known_classes`.
    seed : int
        Seed of the sample, of the permutations and of weighted PCA.

    Returns
    -------
    EncoderComparison

    Raises
    ------
    NotFoundError
        If nothing is published.
    CatalogError
        If a table cannot be joined, or the encoders have too few sources in common.
    """
    record = find_record(root)
    objects = open_tables(root)["objects"].to_table()
    store = open_store(store_url(root), record.snapshot_id)
    encoders = [encode_with_model(objects)]
    encoders += [read_embedding(name, url, objects) for name, url in embeddings.items()]
    labels = {PEOPLE: _read_labels(root, objects), TYPES: _list_galaxy_types(objects)}
    if classes:
        labels |= read_known_classes(classes, objects, class_column)
    rng = np.random.default_rng(seed)
    rows = _sample_common_sources(encoders, objects, rng)
    encoders.insert(1, encode_with_pca(objects, store, rows, seed))
    observation_columns = get_archive(store.config.archive_name).observation_columns
    known_columns = [column for column in observation_columns if column.name in objects.column_names]
    scores = [
        row
        for encoder in encoders
        for row in _score_encoder(
            encoder, objects, rows, labels, known_columns, store.config.grid.n_pixels, seed
        )
    ]
    return EncoderComparison(
        edition=record.number,
        run_id=record.run_id,
        n_spectra=len(objects),
        n_sample=len(rows),
        encoders=tuple(
            ComparedEncoder(encoder.name, encoder.description, encoder.points.shape[1], encoder.n_known)
            for encoder in encoders
        ),
        scores=pa.Table.from_pylist(scores),
        agreement=pa.Table.from_pylist(_compare_pairs(encoders, rows, seed)),
    )


def _read_labels(root: str, objects: pa.Table) -> list[str | None]:
    """Return the majority label of each spectrum, including labels that were given after the edition."""
    table = consensus_labels(current_annotations(read_annotations(root)))
    by_id = dict(zip(table["object_id"].to_pylist(), table["human_label"].to_pylist(), strict=True))
    return [by_id.get(object_id) for object_id in objects["object_id"].to_pylist()]


def _list_galaxy_types(objects: pa.Table) -> list[str | None]:
    return [None if name == "unknown" else name for name in objects["galaxy_type"].to_pylist()]


def _sample_common_sources(
    encoders: Sequence[Encoder], objects: pa.Table, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return one spectrum of each source, of those that all encoders have."""
    common = np.flatnonzero(np.logical_and.reduce([encoder.is_known for encoder in encoders]))
    sources = objects["source_id"].take(pa.array(common)).to_pylist()
    rows = common[sample_sources(sources, rng)] if sources else common
    if len(rows) < MIN_SAMPLE_SIZE:
        counts = ", ".join(f"{encoder.name} {encoder.n_known:,}" for encoder in encoders)
        raise CatalogError(
            f"the encoders have {len(rows)} sources in common, of {len(objects):,} spectra ({counts}): "
            f"at least {MIN_SAMPLE_SIZE} are needed"
        )
    return rows


def _score_encoder(
    encoder: Encoder,
    objects: pa.Table,
    rows: NDArray[np.int64],
    labels: Mapping[str, Sequence[str | None]],
    observation_columns: Sequence[Column],
    n_pixels: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Return the scores of one encoder; all encoders have the same permutations."""
    rng, points = np.random.default_rng(seed), encoder.points[rows]
    scores: list[dict[str, Any]] = []
    for name, values in labels.items():
        own = [values[i] for i in rows]
        known = select_groups(own)
        if not len(known):
            continue
        texts = np.array([own[i] for i in known])
        found = score_category(find_neighbors(points[known]), texts, rng)
        scores.append(
            {
                "encoder": encoder.name,
                "task": "classes",
                "property": name,
                "metric": "accuracy",
                "n_spectra": len(known),
                "n_groups": len(np.unique(texts)),
                "score": found.score,
                "score_std": found.std,
                "null_mean": found.null_mean,
                "null_std": found.null_std,
                "p_value": found.p_value,
                "skill": found.skill,
                "matched_null_mean": None,
                "matched_null_std": None,
                "matched_p_value": None,
            }
        )
    leakage = score_properties(points, objects.take(pa.array(rows)), observation_columns, n_pixels, rng)
    return scores + [{"encoder": encoder.name, "task": "leakage", **row} for row in leakage]


def _compare_pairs(encoders: Sequence[Encoder], rows: NDArray[np.int64], seed: int) -> list[dict[str, Any]]:
    """Return the fraction of neighbors that each pair of encoders shares."""
    neighbors = {encoder.name: find_neighbors(encoder.points[rows]) for encoder in encoders}
    return [
        {
            "encoder": one,
            "other_encoder": other,
            **asdict(compare_neighbors(neighbors[one], neighbors[other], np.random.default_rng(seed))),
        }
        for one, other in combinations(neighbors, 2)
    ]
