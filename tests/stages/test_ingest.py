from dataclasses import dataclass, replace

import pytest

from distspec.core.errors import ArchiveError
from distspec.ingest.source import ArchiveSource, IngestConfig
from distspec.io.paths import store_url
from distspec.stages.ingest import ingest
from distspec.stages.pool import take_retries
from distspec.store.store import open_store
from tests.helpers.aborts import abort_once
from tests.helpers.content import content_checksum
from tests.helpers.fake_archive import GRID_CONFIG, FakeArchive, fake


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
    assert ingest(str(tmp_path / "lenient"), lenient).summary["quarantined"] == 3


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
    assert result.summary["stored"] == 8


@dataclass(frozen=True)
class AbortingArchive(FakeArchive):
    """Archive whose first read aborts the process."""

    marker: str = ""

    async def read(self, entry, file):
        abort_once(self.marker)
        return await super().read(entry, file)


def test_an_aborted_read_is_repeated_and_counted(local_ray, tmp_path, caplog):
    names = tuple(f"good{i}" for i in range(5))
    source = ArchiveSource(fake(*names[:1]), grid=GRID_CONFIG)
    roots = [str(tmp_path / name) for name in ("undisturbed", "aborted")]
    for root in roots:
        ingest(root, source)
    take_retries()
    ingest(roots[0], replace(source, archive=fake(*names)))
    assert take_retries() == 0
    archive = AbortingArchive(names=names, marker=str(tmp_path / "marker"))
    assert ingest(roots[1], replace(source, archive=archive)).summary["stored"] == 4
    assert take_retries() == 1
    assert "reading of 4 spectra from good1 on was run 2 times" in caplog.text
    contents = {content_checksum(open_root_store(root)) for root in roots}
    assert len(contents) == 1
