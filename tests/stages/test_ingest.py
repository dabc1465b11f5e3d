from dataclasses import replace

import pytest

from distspec.ingest.source import ArchiveSource, IngestConfig
from distspec.io.paths import store_url
from distspec.stages.ingest import ingest
from distspec.store.store import open_store
from tests.helpers.fake_archive import GRID_CONFIG, Fake


def store_of(root):
    return open_store(store_url(str(root)))


def test_a_budget_of_bad_input(local_ray, tmp_path):
    names = ("good0", "bad0", "bad1", "bad2")
    source = ArchiveSource(Fake(names), grid=GRID_CONFIG)
    root = str(tmp_path / "strict")
    with pytest.raises(RuntimeError, match=r"3 of 4 spectra are bad.*max_bad_share 0\.5"):
        ingest(root, source)
    assert store_of(root).n_rows == 1, "what is good is in the store"
    assert len(store_of(root).read_quarantine()) == 3
    # All that is new is one bad spectrum: no reason to fail.
    assert ingest(root, replace(source, archive=Fake((*names, "bad3")))).did_work
    lenient = replace(source, config=IngestConfig(max_bad_share=0.75))
    assert ingest(str(tmp_path / "lenient"), lenient).counts["quarantined"] == 3


def test_a_server_that_is_down_is_not_a_bad_archive(local_ray, tmp_path):
    names = ("good0", *(f"away{i}" for i in range(8)))
    source = ArchiveSource(
        Fake(names), grid=GRID_CONFIG, config=IngestConfig(task_mb=1e-3)
    )  # a spectrum a task
    one_task = replace(source, config=IngestConfig(), archive=Fake(names[1:]))
    ingest(str(tmp_path), replace(source, archive=Fake(names[:1])))
    with pytest.raises(RuntimeError, match="down or to refuse us"):
        ingest(str(tmp_path), replace(one_task, archive=Fake(names)))
    assert len(store_of(tmp_path).read_quarantine()) == 0, "the next run tries again"
    assert ingest(str(tmp_path), replace(source, archive=Fake(names, back=True))).counts["stored"] == 8
