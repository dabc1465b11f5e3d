from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from distspec.core.errors import ArchiveError
from distspec.ingest.source import ArchiveSource, IngestConfig
from distspec.io.paths import store_url
from distspec.stages.ingest import check_withdrawn_fraction, ingest
from distspec.store.store import Store, open_store
from tests.helpers.fake_archive import GRID_CONFIG, fake


def open_root_store(root):
    return open_store(store_url(str(root)))


def test_too_many_bad_spectra_fail_a_run(local_ray, tmp_path):
    names = ("good0", "bad0", "bad1", "bad2")
    source = ArchiveSource(fake(*names), grid=GRID_CONFIG)
    root = str(tmp_path / "strict")
    with pytest.raises(ArchiveError, match=r"3 of 4 spectra are bad.*max_bad_share 0\.5"):
        ingest(root, source)
    assert open_root_store(root).n_rows == 1, "the good spectrum is in the store"
    assert len(open_root_store(root).read_quarantine()) == 3
    # A single bad spectrum fails no run, even if it is all that is new.
    assert ingest(root, replace(source, archive=fake(*names, "bad3"))).did_work
    lenient = replace(source, config=IngestConfig(max_bad_share=0.75))
    assert ingest(str(tmp_path / "lenient"), lenient).counts["quarantined"] == 3


def test_an_outage_quarantines_nothing(local_ray, tmp_path):
    names = ("good0", *(f"away{i}" for i in range(8)))
    # One spectrum in a task, and then all in one.
    source = ArchiveSource(fake(*names), grid=GRID_CONFIG, config=IngestConfig(task_mb=1e-3))
    one_task = replace(source, config=IngestConfig(), archive=fake(*names[1:]))
    ingest(str(tmp_path), replace(source, archive=fake(*names[:1])))
    with pytest.raises(ArchiveError, match="seems to be down or to refuse access"):
        ingest(str(tmp_path), replace(one_task, archive=fake(*names)))
    assert len(open_root_store(tmp_path).read_quarantine()) == 0, "the next run tries again"
    result = ingest(str(tmp_path), replace(source, archive=fake(*names, is_up=True)))
    assert result.counts["stored"] == 8


@pytest.mark.parametrize(
    ("n_gone", "n_current", "share"), [(1, 2, None), (2, 10, None), (3, 10, "0.3"), (2, 2, "1")]
)
def test_a_listing_that_lacks_many_spectra_stops_the_run(n_gone, n_current, share):
    store = cast(Store, SimpleNamespace(current_rows=lambda: range(n_current)))
    if share is None:
        check_withdrawn_fraction(n_gone, store, 0.2)
        return
    with pytest.raises(ArchiveError, match=f"nothing was changed.*--ingest.max-withdrawn {share}$"):
        check_withdrawn_fraction(n_gone, store, 0.2)
    check_withdrawn_fraction(n_gone, store, float(share))
