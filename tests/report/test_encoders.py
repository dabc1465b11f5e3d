"""Comparison of encoders: tables of embeddings in all formats, scores of known spaces, and the page."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

import distspec
from distspec.catalog.editions import publish
from distspec.core.errors import CatalogError, ConfigError
from distspec.report.encoder_scores import compare_encoders
from distspec.report.encoders import parse_embedding_options, read_embedding

N = 60
POINTS = np.random.default_rng(1).normal(size=(N, 3))


@pytest.fixture
def objects():
    return pa.table({"object_id": [f"o{i:04d}" for i in range(N)], "source_id": [f"s{i}" for i in range(N)]})


def write(path, order, as_lists):
    names = [f"o{i:04d}" for i in order]
    columns = {"v": POINTS[order]} if as_lists else {f"e{k}": POINTS[order, k] for k in range(3)}
    table = Table({"object_id": names, **columns})
    if path.suffix == ".parquet":
        values = {name: column.tolist() for name, column in table.items()}
        pq.write_table(pa.table(values), path)
    else:
        table.write(path, format={".vot": "votable"}.get(path.suffix), overwrite=True)
    return str(path)


@pytest.mark.parametrize(
    ("suffix", "as_lists"),
    [
        (".csv", False),
        *((suffix, lists) for suffix in (".parquet", ".fits", ".vot") for lists in (False, True)),
    ],
)
def test_embeddings_are_joined_by_identifier(objects, tmp_path, suffix, as_lists):
    order = np.random.default_rng(0).permutation(N)[:50]
    encoder = read_embedding("mine", write(tmp_path / f"e{suffix}", order, as_lists), objects)
    assert encoder.n_known == 50
    assert np.array_equal(np.flatnonzero(encoder.is_known), np.sort(order))
    assert np.allclose(encoder.points[order], POINTS[order])
    assert f"e{suffix}" in encoder.description


def test_tables_that_are_no_embeddings_are_refused(objects, tmp_path):
    for content, message in (
        ("name,e0\nx,1\n", "neither object_id nor source_id"),
        ("object_id,e0\nelsewhere,1\n", "none of the 60 spectra"),
        ("object_id,type\no0001,a\n", "no column of numbers"),
        ("object_id,e0\no0001,1\no0001,2\n", "more than once"),
    ):
        (tmp_path / "e.csv").write_text(content)
        with pytest.raises(CatalogError, match=message):
            read_embedding("mine", str(tmp_path / "e.csv"), objects)
    pq.write_table(pa.table({"object_id": ["o0001"], "a": [[1.0]], "b": [[1.0]]}), tmp_path / "two.parquet")
    with pytest.raises(CatalogError, match="2 columns of lists, a, b"):
        read_embedding("mine", str(tmp_path / "two.parquet"), objects)
    ragged = pa.table({"object_id": ["o0001", "o0002"], "a": [[1.0], [1.0, 2.0]]})
    pq.write_table(ragged, tmp_path / "ragged.parquet")
    with pytest.raises(CatalogError, match="no lists of equally many numbers"):
        read_embedding("mine", str(tmp_path / "ragged.parquet"), objects)


@pytest.mark.parametrize("options", [["e.csv"], ["=e.csv"], ["mine="], ["a=1", "a=2"], ["model=e.csv"]])
def test_wrong_options_are_refused(options):
    with pytest.raises(ConfigError, match="--embedding"):
        parse_embedding_options(options)


def test_encoders_are_compared_on_one_page(run, tables, tmp_path):
    """The table holds the known classes, the untrained model does not."""
    root, store, _ = run
    publish(root, tables, "r-1", store.snapshot_id, {})
    ids = tables["objects"]["object_id"].to_pylist()
    kinds = np.arange(N) % 2
    lines = [f"{name},{'ab'[k]}" for name, k in zip(ids, kinds, strict=True)]
    (tmp_path / "classes.csv").write_text("\n".join(["object_id,kind", *lines]))
    points = POINTS + 6.0 * kinds[:, None]
    table = pa.table({"object_id": ids, "v": [row.tolist() for row in points]})
    pq.write_table(table, tmp_path / "mine.parquet")
    embeddings = {"mine": str(tmp_path / "mine.parquet")}
    report = distspec.open(root).compare_encoders(embeddings, str(tmp_path / "classes.csv"))
    rows = {(row["encoder"], row["property"]): row for row in report.scores.table.to_pylist()}
    assert {encoder for encoder, _ in rows} == {"model", "weighted PCA", "mine"}
    assert rows["mine", "kind"]["score"] == 1.0
    assert rows["mine", "kind"]["p_value"] < 0.01
    assert rows["model", "kind"]["skill"] < 0.5
    assert rows["model", "kind"]["null_mean"] == pytest.approx(0.5, abs=0.1)
    pairs = report.agreement.table.to_pylist()
    assert [(row["encoder"], row["other_encoder"]) for row in pairs] == [
        ("model", "weighted PCA"),
        ("model", "mine"),
        ("weighted PCA", "mine"),
    ]
    page = (tmp_path / "root" / "runs" / "r-1" / "encoders" / "index.html").read_text()
    assert report.page.endswith("/runs/r-1/encoders/index.html")
    assert "<h1>3 encoders on 60 spectra</h1>" in page
    assert "column v with 3 numbers of mine.parquet" in page
    folder = tmp_path / "root" / "runs" / "r-1" / "encoders"
    assert {path.name for path in folder.iterdir()} == {
        *("index.html", "skill.png", "skill.pdf", "scores.csv", "agreement.csv")
    }
    (tmp_path / "few.csv").write_text("object_id,x\n" + "".join(f"{name},1\n" for name in ids[:9]))
    with pytest.raises(CatalogError, match=r"9 sources in common, of 60 spectra \(model 60, few 9\)"):
        compare_encoders(root, {"few": str(tmp_path / "few.csv")})
