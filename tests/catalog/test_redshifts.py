import numpy as np
import pyarrow as pa

from distspec.catalog.redshifts import build_redshifts, match_objects, read_newest_measured
from distspec.core import schema
from distspec.redshifts import RedshiftConfig
from distspec.redshifts.measured import MEASURED_SCHEMA, append_measured, make_record, write_current


def make_measured(**rows):
    """Return measured redshifts: for each name (version, z of the archive, z of the model, p_outlier)."""
    return pa.Table.from_pylist(
        [
            {"object_id": name, "version": version, "z_archive": z, "z_model": z_model, "p_outlier": p}
            | {"z_class": "galaxy" if np.isfinite(z_model) else "", "ln_bayes_factor": 1.0, "reason": ""}
            | {"ln_probability_archive": np.log1p(-p)}
            for name, (version, z, z_model, p) in rows.items()
        ],
        MEASURED_SCHEMA,
    )


MEASURED = make_measured(
    right=("v1", 4.0, 4.0, 0.01),
    wrong=("v1", 4.0, 2.0, 0.99),
    worse=("v1", 4.0, 3.0, 0.999),
    model=("v2", np.nan, 5.0, np.nan),
    unused=("v1", np.nan, 5.0, np.nan),
    failed=("v1", 4.0, np.nan, np.nan),
)
LEDGER = pa.table(
    {
        "object_id": ["model", "right", "wrong", "worse", "failed", "unmeasured"],
        "version": ["v2 z_model=5.00000 by 012345", "v1", "v1", "v1", "v1", "v1"],
    }
)


def test_rows_of_the_catalog_find_their_measured_redshifts():
    found = match_objects(MEASURED, LEDGER)
    assert list(found) == [column.name for column in schema.MEASURED_REDSHIFT_COLUMNS]
    assert found["z_model"].to_pylist() == [5.0, 4.0, 2.0, 3.0, None, None]
    assert found["z_class"].to_pylist() == ["galaxy"] * 4 + [None, None]
    assert match_objects(MEASURED_SCHEMA.empty_table(), LEDGER)["p_outlier"].to_pylist() == [None] * 6


def test_the_table_lists_all_measured_spectra_with_the_most_doubtful_first():
    columns = match_objects(MEASURED, LEDGER)
    z_source = pa.array(["model", *["archive"] * 5])
    objects = pa.table({"object_id": LEDGER["object_id"], "z_source": z_source, **columns})
    table = build_redshifts(MEASURED, objects, {})
    found = dict(zip(table["object_id"].to_pylist(), table["status"].to_pylist(), strict=True))
    assert list(found.items())[:3] == [("worse", "doubtful"), ("wrong", "doubtful"), ("right", "archive")]
    assert (found["model"], found["unused"], found["failed"]) == ("model", "not used", "archive")
    assert len(found) == len(MEASURED)
    [row] = table.filter(pa.compute.equal(table["object_id"], "unused")).to_pylist()
    assert (row["z_archive"], row["z_source"], row["z_model"]) == (None, None, 5.0)


def test_the_newest_version_of_a_spectrum_counts(tmp_path):
    root = str(tmp_path)
    assert not len(read_newest_measured(root))
    record = make_record(root, "m-1", RedshiftConfig())
    for version in ("v1", "v2"):
        append_measured(root, record.measurement_id, make_measured(a=(version, 4.0, 4.0, 0.0)))
    write_current(root, make_record(root, "m-1", RedshiftConfig()))
    assert read_newest_measured(root)["version"].to_pylist() == ["v2"]
