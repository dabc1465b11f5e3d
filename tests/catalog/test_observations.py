"""Groups of spectra by program, detector or reduction, and leakage of these into the latents."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import hypergeom

from distspec.catalog.build import build_tables
from distspec.catalog.config import CatalogConfig
from distspec.catalog.observations import (
    build_leakage,
    build_observation_groups,
    compute_group_p_values,
)
from distspec.core import schema
from distspec.core.schema import Column

PROGRAM = (Column("program", pa.string(), "", "Program."),)


def objects(program, is_odd, rng, source=None, n_latents=3):
    n = len(program)
    rank = np.empty(n, int)
    rank[np.argsort(~np.asarray(is_odd), kind="stable")] = np.arange(n) + 1
    values = {
        "source_id": [f"s{i}" for i in (np.arange(n) if source is None else source)],
        "root": pa.array(["field"] * n),
        "program": pa.array(program, pa.string()),
        "anomaly_rank": rank,
        "artefact_score": np.zeros(n, np.float32),
        "z": rng.uniform(4, 8, n),
        "snr": rng.lognormal(1, 0.5, n),
        "n_valid": rng.integers(200, 300, n),
        **{f"z_mean_{i:02d}": rng.normal(size=n).astype(np.float32) for i in range(n_latents)},
        **{f"z_log_var_{i:02d}": np.full(n, -2.0, np.float32) for i in range(n_latents)},
    }
    return pa.table(values)


def test_a_program_with_most_anomalies_is_unusual(rng):
    program = np.repeat(["1", "2", "3"], [40, 480, 480])
    odd = np.zeros(1000, bool)
    odd[:12], odd[500:518] = True, True
    rows = build_observation_groups(objects(program, odd, rng), PROGRAM, {}).to_pylist()
    assert [row["property"] for row in rows] == ["root"] + ["program"] * 3
    first = rows[1]
    assert (first["value"], first["n_spectra"], first["n_sources"], first["n_anomalous"]) == ("1", 40, 40, 12)
    assert first["anomalous_share"] == pytest.approx(0.3)
    assert first["anomalous_share_low"] < 0.2 < 0.4 < first["anomalous_share_high"]
    assert first["anomalous_p_value"] < 1e-6
    assert min(row["anomalous_p_value"] for row in rows[2:]) > 0.05
    assert {row["bad_pixels_p_value"] for row in rows} == {1.0}
    assert rows[0]["anomalous_p_value"] == 1.0, "the only group"


def test_repeated_spectra_of_a_source_count_once_and_unknown_values_not_at_all(rng):
    program = ["1"] * 10 + [None] * 5 + ["2"] * 85
    source = [0] * 10 + list(range(1, 91))
    odd = np.arange(100) < 3
    (_, *rows) = build_observation_groups(objects(program, odd, rng, source), PROGRAM, {}).to_pylist()
    by_value = {row["value"]: row for row in rows}
    assert set(by_value) == {"1", "2"}
    assert (by_value["1"]["n_spectra"], by_value["1"]["n_sources"], by_value["1"]["n_anomalous"]) == (
        10,
        1,
        1,
    )
    assert by_value["2"]["n_sources"] == 85


def test_corrected_p_values_lie_between_the_plain_ones_and_bonferroni(rng):
    n_total = rng.integers(1, 60, 30)
    n_flagged = rng.binomial(n_total, 0.1)
    plain = hypergeom.sf(n_flagged - 1, n_total.sum(), n_flagged.sum(), n_total)
    corrected = compute_group_p_values(n_flagged, n_total)
    assert (corrected >= plain - 1e-12).all()
    assert (corrected <= np.minimum(30 * plain, 1) + 1e-9).all()
    assert compute_group_p_values(np.zeros(0, int), np.zeros(0, int)).shape == (0,)


def test_chance_makes_any_group_unusual_as_rarely_as_stated(rng):
    """With groups of a slitlet's size among them, of which chance flags one wholly now and then."""
    n_total = np.concatenate([np.ones(200, int), np.full(20, 40)])
    group = np.repeat(np.arange(len(n_total)), n_total)
    lowest = []
    for _ in range(400):
        flagged = rng.choice(group, 30, replace=False)
        lowest.append(compute_group_p_values(np.bincount(flagged, minlength=len(n_total)), n_total).min())
    assert 0.005 < np.mean(np.array(lowest) <= 0.05) <= 0.08


def test_leakage_tells_a_program_in_the_latents_from_one_that_is_not(rng):
    program = rng.choice(["1", "2"], 400)
    table = objects(program, np.zeros(400, bool), rng)
    shifted = table.set_column(
        table.column_names.index("z_mean_00"),
        "z_mean_00",
        pa.array((table["z_mean_00"].to_numpy() + 3.0 * (program == "1")).astype(np.float32)),
    )
    clean, leaky = (
        {row["property"]: row for row in build_leakage(one, PROGRAM, 300, 0, {}).to_pylist()}
        for one in (table, shifted)
    )
    assert set(clean) == {"z", "snr", "n_valid", "program"}, "there is one root"
    assert leaky["program"]["skill"] > 0.6
    assert leaky["program"]["matched_p_value"] < 0.01
    assert clean["program"]["skill"] < 0.2
    assert clean["program"]["n_groups"] == 2
    assert all(abs(clean[name]["skill"]) < 0.15 for name in ("z", "snr", "n_valid"))
    assert clean["z"]["matched_null_mean"] is None
    assert not len(build_leakage(table.slice(0, 20), PROGRAM, 300, 0, {})), "too few spectra"


def test_an_archive_without_observations_has_groups_of_fields(run, tables):
    groups = tables["observation_groups"]
    assert set(groups["property"].to_pylist()) == {"root"}
    assert [field.name for field in groups.schema] == [c.name for c in schema.OBSERVATION_GROUPS_SCHEMA]
    assert "program" not in tables["objects"].column_names


def test_rows_without_observations_are_null_in_objects(run, monkeypatch):
    """A store that was made before the archive had these columns."""
    from distspec.catalog import build

    root, store, _ = run
    archive = build.get_archive(store.config.archive_name)
    monkeypatch.setattr(archive, "observation_columns", PROGRAM)
    made = build_tables(root, "r-1", store, CatalogConfig(n_anomalies=10))
    assert made["objects"]["program"].null_count == 60
    assert set(made["observation_groups"]["property"].to_pylist()) == {"root"}
