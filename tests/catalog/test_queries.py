"""SQL queries over the published catalog, and the example queries of the README."""

import csv
import io
import json
import re
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from distspec.catalog.editions import open_tables, read_current_record, read_edition_records
from distspec.catalog.queries import format_example_query, query, save_query
from distspec.core.errors import CatalogError, NotFoundError
from distspec.core.text import unescape_formula
from tests.helpers.published import published
from tests.helpers.published import tables as made_tables
from tests.helpers.seaweed import s3, seaweed  # noqa: F401

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "catalogs.md").read_text()
EXAMPLE_QUERIES = re.findall(r"```sql\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return str(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def tables(root):
    return {name: table.to_pandas() for name, table in published(root).items()}


def separation(ra, dec, at_ra, at_dec):
    """Angle [deg] from unit vectors."""
    a, b = (
        np.stack([np.cos(y) * np.cos(x), np.cos(y) * np.sin(x), np.sin(y)], -1)
        for x, y in ((np.radians(ra), np.radians(dec)), (np.radians(at_ra), np.radians(at_dec)))
    )
    return np.degrees(2 * np.arcsin(np.linalg.norm(a - b, axis=-1) / 2))


def expected(tables):
    """Return the expected column of each example query, computed with pandas."""
    objects, classes = tables["objects"], tables["classes"]
    ranked = objects.sort_values("anomaly_rank")
    away = separation(objects.ra, objects.dec, 53.16, -27.79)
    dots = objects[(objects.galaxy_type == "LRD") & (objects.galaxy_type_confidence > 0.8)]
    lya = objects[objects.lya_ew > 3 * objects.lya_ew_err]
    agree = objects.groupby("source_id").cluster_label.nunique() == 1
    clean = (objects.cluster_label >= 0) & (objects.cluster_stability >= np.float32(0.9))
    clean &= (objects.snr > 3) & (objects.artefact_score < 1)
    median = tables["class_medians"].query("cluster_label == 0 and n_valid > 0")
    return [
        ("n_spectra", sorted(classes.n_spectra, reverse=True)),
        ("object_id", ranked.object_id[ranked.cluster_label == 2][:100].tolist()),
        ("object_id", ranked.object_id[:10].tolist()),
        ("object_id", objects.object_id[np.argsort(away)][: (away <= 0.05).sum()].tolist()),
        ("object_id", dots.sort_values("galaxy_type_confidence", ascending=False).object_id.tolist()),
        ("object_id", lya.sort_values("lya_ew", ascending=False).object_id.tolist()),
        ("agree", agree.sort_index().tolist()),
        ("object_id", set(objects.object_id[clean])),
        ("wave_rest", sorted(median.wave_rest)),
        ("reason", ["no_redshift", "no_overlap"]),
    ]


def test_the_readme_has_ten_example_queries():
    assert len(EXAMPLE_QUERIES) == 10


@pytest.mark.parametrize("i", range(10))
def test_an_example_query_agrees_with_pandas(root, tables, i):
    column, values = expected(tables)[i]
    found = query(root, EXAMPLE_QUERIES[i])[column].to_pylist()
    assert len(found) > 0
    assert (set(found) if isinstance(values, set) else found) == values


@pytest.mark.parametrize(
    "at", [(53.16, -27.79, 0.05), (0.0, 10.0, 30.0), (200.0, 89.0, 20.0), (10.0, -90.0, 40.0)]
)
def test_a_cone_search_agrees_with_brute_force(root, tables, at):
    ra, dec, radius = at
    away = separation(tables["objects"].ra, tables["objects"].dec, ra, dec)
    found = query(root, f"SELECT object_id, separation FROM cone({ra}, {dec}, {radius})").to_pandas()
    assert set(found.object_id) == set(tables["objects"].object_id[away <= radius])
    assert len(found) > 0
    assert found.separation.max() <= radius


def test_queries_skip_row_groups(root, tables, tmp_path, monkeypatch):
    """Few row groups can contain a class, the first ranks, or a region of the sky."""
    monkeypatch.setattr("distspec.io.parquet.ROW_GROUP_SIZE", 100)
    published(str(tmp_path), 20_000)
    file = pq.ParquetFile(tmp_path / "catalog" / read_current_record(str(tmp_path)).files["objects"])
    names = file.schema_arrow.names

    def groups(name, low, high):
        at = names.index(name)
        stats = [file.metadata.row_group(i).column(at).statistics for i in range(file.num_row_groups)]
        return np.mean([low <= s.max and s.min <= high for s in stats])

    from distspec.catalog.healpix import compute_cone_range

    assert groups("cluster_label", 2, 2) < 0.22, "the class has a fifth of the spectra"
    assert groups("anomaly_rank", 1, 100) < 0.06, "the first ranks are at the beginning of each class"
    assert groups("_healpix_29", *compute_cone_range(200.0, 40.0, 1.0)) < 0.15, (
        "the region is in each decade of each class"
    )
    assert groups("ra", 199.0, 201.0) < 0.4


def test_objects_are_stored_in_another_order_and_otherwise_unchanged(root, tables):
    found = open_tables(root)["objects"].to_table().to_pandas()
    assert found.object_id.tolist() != tables["objects"].object_id.tolist()
    again = found.sort_values("store_row").reset_index(drop=True)
    assert again.equals(tables["objects"])


def test_errors_name_the_problem_and_the_alternatives(root, tables):
    with pytest.raises(CatalogError, match="redshift"):
        query(root, "SELECT redshift FROM objects")
    with pytest.raises(CatalogError, match=r"(?s)galaxies.*tables: anomalies, bad_pixels"):
        query(root, "SELECT * FROM galaxies")
    with pytest.raises(CatalogError, match=r"r-none is not published.*choose one of r-made"):
        query(root, "SELECT 1", "r-none")
    with pytest.raises(CatalogError, match="record"):
        query(root, "SELECT * FROM record")  # Python variables are not visible as tables
    with pytest.raises(CatalogError, match="returns no table"):
        query(root, "")


def test_a_query_before_the_first_run_names_the_command(tmp_path):
    with pytest.raises(NotFoundError, match="distspec run"):
        query(str(tmp_path), "SELECT 1")


def test_the_example_query_runs_in_plain_duckdb(root, tables):
    rows = duckdb.sql(format_example_query(root)).fetchall()
    counts = tables["objects"].cluster_label.value_counts()
    assert {label: n for label, n, _ in rows} == counts.to_dict()


def test_previous_runs_can_be_queried(tmp_path):
    root = str(tmp_path)
    old = published(root, 100, "r-old", 1)
    new = published(root, 120, "r-new", 2)
    assert query(root, "SELECT count(*) AS n FROM objects").to_pylist() == [{"n": 120}]
    assert query(root, "SELECT count(*) AS n FROM objects", "r-old").to_pylist() == [{"n": 100}]
    assert open_tables(root, "r-old")["objects"].count_rows() == len(old["objects"])
    moved = query(
        root,
        'SELECT count(*) AS n FROM objects JOIN "r-old".objects AS o USING (object_id) '
        "WHERE o.cluster_label <> objects.cluster_label",
    )
    labels = [table["objects"]["cluster_label"].to_numpy()[:100] for table in (old, new)]
    assert moved.to_pylist() == [{"n": int((labels[0] != labels[1]).sum())}]
    assert [record.run_id for record in read_edition_records(root)] == ["r-old", "r-new"]


def test_queries_of_a_bucket(s3):  # noqa: F811
    root = s3.url("root")
    tables = {name: table.to_pandas() for name, table in published(root).items()}
    for i, (column, values) in enumerate(expected(tables)):
        found = query(root, EXAMPLE_QUERIES[i])[column].to_pylist()
        assert (set(found) if isinstance(values, set) else found) == values
    published(root, 100, "r-old")
    assert query(root, "SELECT count(*) AS n FROM objects", "r-made").to_pylist() == [{"n": 600}]


def whole_sky(root):
    return query(root, "SELECT count(*) AS n FROM objects")["n"][0].as_py()


def test_a_cone_can_have_any_radius(root, tables):
    row = tables["objects"].iloc[0]
    at_ra = float(row.ra)
    for ra in (at_ra, at_ra + 360, at_ra - 360):
        for radius in (0, 1e-12, 1e-7) if ra == at_ra else (1e-9,):
            found = query(root, f"SELECT object_id FROM cone({ra}, {float(row.dec)}, {radius})")
            assert found["object_id"].to_pylist() == [row.object_id]
    for cone in ("10, 20, 180", "-1, 90, 500", "360, -90, 180"):
        assert query(root, f"SELECT count(*) AS n FROM cone({cone})")["n"][0].as_py() == whole_sky(root)


@pytest.mark.parametrize("cone", ["0, 0, -1", "0, 0, 'nan'", "'nan', 0, 1", "0, 91, 1", "'inf', 0, 1"])
def test_an_impossible_cone_is_refused_in_one_line(root, tables, cone):
    with pytest.raises(CatalogError, match=r"^cone\([^\n]*radius of at least 0, all in degrees$"):
        query(root, f"SELECT * FROM cone({cone})")


VALUES = """SELECT 'nan'::DOUBLE AS x, 1 / 0.0 AS y, [1, 'nan'::DOUBLE] AS l, NULL::STRUCT(a DOUBLE) AS n,
    {'a': 'inf'::DOUBLE, 'b': [{'c': 'nan'::FLOAT}]} AS s, map{'a': 'nan'::DOUBLE} AS m,
    9007199254740993 AS i, 1 AS d, 2 AS d, NULL::BOOL AS b"""


def saved(root, sql, output_format):
    file = io.BytesIO()
    save_query(root, sql, output_format, file)
    return file.getvalue().decode()


def refuse_constant(text):
    raise AssertionError(f"{text} is not JSON")


def test_json_has_null_for_numbers_that_are_not_finite(root, tables):
    rows = json.loads(saved(root, VALUES, "json"), parse_constant=refuse_constant)
    nested = {"l": [1.0, None], "n": None, "s": {"a": None, "b": [{"c": None}]}, "m": {"a": None}}
    assert rows == [{"x": None, "y": None, **nested, "i": 9007199254740993, "d": 1, "d_1": 2, "b": None}]
    assert json.loads(saved(root, "SELECT * FROM objects WHERE false", "json")) == []


def test_csv_escapes_formulas_in_texts_alone(root, tables):
    texts = ["=1", "+1", "-1", "@a", "\t=1", "\r1", "'=1", "'a", "a=1", "", 'a",\nb', "Å"]
    values = ", ".join("('" + text.replace("'", "''") + "')" for text in texts)
    content = saved(root, f'SELECT t, -5 AS "=n" FROM (VALUES {values}) AS v(t)', "csv")
    rows = list(csv.reader(io.StringIO(content, newline="")))
    assert rows[0] == ["t", "'=n"]
    assert [row[0] for row in rows[1:]] == [f"'{text}" for text in texts[:7]] + texts[7:]
    assert [unescape_formula(row[0]) for row in rows[1:]] == texts
    assert {row[1] for row in rows[1:]} == {"-5"}


@pytest.mark.parametrize("name", list(made_tables(30)))
def test_every_table_is_written_as_csv_and_json_and_parquet(root, tables, name):
    n = query(root, f"SELECT count(*) AS n FROM {name}")["n"][0].as_py()
    rows = json.loads(saved(root, f"FROM {name}", "json"), parse_constant=refuse_constant)
    expected = query(root, f"FROM {name}").to_pylist()
    assert len(rows) == n
    assert list(rows[0]) == list(expected[0])
    for row, values in zip(rows, expected, strict=True):
        for key, value in values.items():
            if isinstance(value, float):
                if np.isfinite(value):
                    assert row[key] == pytest.approx(value, rel=1e-6)
                else:
                    assert row[key] is None
            else:
                assert row[key] == value
    text = saved(root, f"FROM {name}", "csv")
    assert len(list(csv.reader(io.StringIO(text, newline="")))) == n + 1
    file = io.BytesIO()
    save_query(root, f"FROM {name}", "parquet", file)
    assert pq.read_table(file).num_rows == n


def test_the_temporary_folder_may_have_an_apostrophe(root, tables, tmp_path, monkeypatch):
    (tmp_path / "it's").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "it's"))
    assert saved(root, "SELECT 1 AS a", "csv") == "a\n1\n"
