from dataclasses import replace

import pytest

from distspec.core.errors import ArchiveError
from distspec.ingest.source import ArchiveSource, IngestConfig
from distspec.io.paths import store_url
from distspec.stages.ingest import ingest
from distspec.store.store import open_store
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
