from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distspec.archives.base import LISTING_SCHEMA
from distspec.core.listing import Listing
from distspec.redshifts.measured import MEASURED_SCHEMA
from distspec.redshifts.selection import get_archive_version, use_measured_redshifts
from tests.helpers.fake_archive import FakeArchive


@dataclass(frozen=True)
class LimitedArchive(FakeArchive):
    """Selects z > 2."""

    def accepts_redshifts(self, z):
        return z > 2.0


def make_rows(names, z):
    row = {"source_key": "", "version": "v1", "uri": "x", "ra": 1.0, "dec": 2.0}
    row |= {"root": "", "srcid": "", "grating": "", "filter": "", "grade": 3}
    rows = [{**row, "object_id": name, "z": each} for name, each in zip(names, z, strict=True)]
    return pa.Table.from_pylist(rows, LISTING_SCHEMA)


def make_listing(trusted, candidates):
    reasons = pa.array(["grade"] * len(candidates), pa.string())
    rows = make_rows(candidates, [np.nan] * len(candidates)).append_column("deselected_as", reasons)
    return Listing(make_rows(trusted, [5.0] * len(trusted)), {"grade": len(candidates), "z": 4}, (), rows)


def measure(**rows):
    """Return measured redshifts: for each name (z, probability, class)."""
    table = [
        {"object_id": name, "version": "v1", "z_model": z, "z_model_probability": p, "z_class": z_class}
        for name, (z, p, z_class) in rows.items()
    ]
    return pa.Table.from_pylist(table, MEASURED_SCHEMA)


def use(listing, measured, redshifts="best"):
    archive = LimitedArchive()
    object.__setattr__(archive, "redshifts", redshifts)
    return use_measured_redshifts(listing, measured, "0123456789", archive, 0.9)


def test_confident_redshifts_within_the_limits_are_used():
    listing = make_listing(["t"], ["good", "low", "unsure", "other", "noise", "failed", "new"])
    measured = measure(
        good=(4.0, 0.95, "galaxy"),
        low=(1.0, 0.99, "galaxy"),
        unsure=(5.0, 0.5, "galaxy"),
        other=(3.0, 0.99, "other"),
        noise=(3.0, 0.99, "noise"),
        failed=(np.nan, np.nan, ""),
    )
    found = use(listing, measured)
    assert found.spectra.select(["object_id", "z", "z_source", "version"]).to_pylist() == [
        {"object_id": "t", "z": 5.0, "z_source": "", "version": "v1"},
        {"object_id": "good", "z": 4.0, "z_source": "model", "version": "v1 z_model=4.00000 by 012345"},
    ]
    assert found.deselected == {
        "grade": 1,
        "z": 4,
        "model redshift: z": 1,
        "model redshift: ambiguous": 1,
        "model redshift: no galaxy": 1,
        "model redshift: noise": 1,
        "model redshift: not measured": 1,
    }
    assert found.counts.read == listing.counts.read


@pytest.mark.parametrize(("redshifts", "z"), [("best", [5.0, 5.0]), ("model", [5.0, 3.0])])
def test_trusted_redshifts_are_replaced_only_if_the_model_is_asked_for_all(redshifts, z):
    listing = make_listing(["unsure", "sure"], [])
    measured = measure(unsure=(3.0, 0.5, "galaxy"), sure=(3.0, 0.99, "galaxy"))
    found = use(listing, measured, redshifts).spectra
    assert sorted(zip(found["object_id"].to_pylist(), found["z"].to_pylist(), strict=True), reverse=True) == [
        ("unsure", z[0]),
        ("sure", z[1]),
    ]


def test_nothing_changes_with_the_redshifts_of_the_catalog():
    listing = make_listing(["t"], ["good"])
    assert use(listing, measure(good=(4.0, 0.95, "galaxy")), "catalog") is listing


def test_another_version_is_measured_anew():
    listing = make_listing([], ["good"])
    measured = measure(good=(4.0, 0.95, "galaxy"))
    other = measured.set_column(1, "version", pa.array(["v0"]))
    assert not len(use(listing, other).spectra)


@given(
    st.dictionaries(
        st.text("abc", min_size=1, max_size=3),
        st.tuples(st.floats(0.0, 6.0), st.floats(0.0, 1.0), st.sampled_from(["galaxy", "other", "noise"])),
    ),
    st.sets(st.text("abc", min_size=1, max_size=3)),
)
def test_every_candidate_is_counted_once(measured, candidates):
    listing = make_listing(["t"], sorted(candidates))
    found = use(listing, measure(**measured))
    assert found.counts.read == listing.counts.read
    assert all(n > 0 for n in found.deselected.values())
    for row in found.spectra.to_pylist():
        assert get_archive_version(row["version"]) == "v1"
