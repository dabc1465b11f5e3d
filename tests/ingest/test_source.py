from pathlib import Path

import pytest

from distspec.archives.dja import DJA
from distspec.core.errors import ArchiveError, ConfigError, NotFoundError, StoreError
from distspec.ingest.source import ArchiveSource, IngestConfig, read_source, write_source
from distspec.io.files import read_json, write_json
from distspec.io.remote.config import AccessConfig
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.resampling import GridConfig
from tests.helpers.fake_archive import fake

SOURCE = ArchiveSource(
    DJA("catalog.csv", "files", grades=(2, 3)),
    AccessConfig(redirect_hosts=("a.example", "b.example")),
    GridConfig(n_pixels=64),
    NormConfig(windows=((1450.0, 1550.0),)),
    IngestConfig(commit_rows=100),
)


def test_a_source_comes_back_from_its_record(tmp_path):
    write_source(str(tmp_path), SOURCE)
    assert read_source(str(tmp_path)) == SOURCE
    assert read_json(str(tmp_path / "archive.json"))["archive"] == "dja"


def test_an_unchanged_record_is_not_written_again(tmp_path):
    write_source(str(tmp_path), SOURCE)
    before = Path(tmp_path / "archive.json").stat().st_mtime_ns
    write_source(str(tmp_path), SOURCE)
    assert Path(tmp_path / "archive.json").stat().st_mtime_ns == before


def test_a_root_without_a_source_is_an_error_with_a_remedy(tmp_path):
    with pytest.raises(NotFoundError, match="distspec run ingest"):
        read_source(str(tmp_path))


def test_records_of_other_formats_and_archives_are_refused(tmp_path):
    write_source(str(tmp_path), SOURCE)
    url = str(tmp_path / "archive.json")
    record = read_json(url)
    write_json(url, record | {"archive": "no-such-archive"})
    with pytest.raises(ArchiveError, match="no-such-archive"):
        read_source(str(tmp_path))
    write_json(url, {"kind": "dja", "archive": {}})
    with pytest.raises(StoreError, match="new --root"):
        read_source(str(tmp_path))


@pytest.mark.parametrize(
    "settings", [{"task_mb": 0.0}, {"commit_rows": 0}, {"in_flight": -1}, {"max_bad_share": 2}]
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ConfigError, match=rf"ingest\.{next(iter(settings))}"):
        IngestConfig(**settings)


def test_the_size_of_a_task_is_in_bytes():
    assert IngestConfig(task_mb=1.0).batch_size(fake()) == 1000
    assert IngestConfig(task_mb=1e-9).batch_size(fake()) == 1
