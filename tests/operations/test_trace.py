"""The provenance of a spectrum leads from its row to the archive's file."""

import numpy as np
import pytest

from distspec.catalog import editions
from distspec.core.errors import CatalogError, NotFoundError
from distspec.io.paths import store_url
from distspec.operations.trace import trace_spectrum
from distspec.store.store import open_store


@pytest.fixture
def root(run, tables) -> str:
    """A run that was published twice."""
    url, store, _ = run
    for n in (10, 11):
        editions.publish(url, tables, "r-1", store.snapshot_id, {"n": n})
    return url


def test_the_entities_lead_from_the_row_to_the_file(root):
    found = trace_spectrum(root, "o0007")
    assert [entity.entity_type for entity in found.entities()] == [
        "row", "edition", "run", "model", "snapshot", "file",
    ]  # fmt: skip
    current = editions.read_current_record(root)
    assert current is not None
    assert found.edition.name == current.name
    assert found.edition.checksum == current.checksum
    assert found.run.checksum == current.run_checksum
    assert found.models[0].weights_sha256
    assert found.snapshot.name == current.snapshot_id
    assert found.file.name == "uri"
    row = found.row.store_row
    checksum = np.asarray(open_store(store_url(root)).open_array("checksum")[row : row + 1])[0]
    assert found.file.checksum == f"{checksum:016x}"


def test_an_earlier_edition_can_be_named(root):
    first = editions.read_edition_records(root)[0]
    assert trace_spectrum(root, "o0007", first.name).edition.published == first.published


def test_entities_are_json_values(root):
    record = trace_spectrum(root, "o0007").row.to_json()
    assert (record["entity_type"], record["name"]) == ("row", "o0007")
    assert record["attributes"]["store_row"] == 7


def test_an_unknown_spectrum_is_refused_with_a_hint(root):
    with pytest.raises(CatalogError, match="holds no spectrum nobody: look for it"):
        trace_spectrum(root, "nobody")


def test_without_a_catalog_there_is_no_provenance(tmp_path):
    with pytest.raises(NotFoundError, match="distspec run"):
        trace_spectrum(str(tmp_path), "o0007")
