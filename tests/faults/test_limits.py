"""Limits on sizes, code in files, and an archive of which a third is damaged."""

import gzip
import re
from pathlib import Path

import pytest

import distspec
from distspec.core.errors import QuarantineReason
from distspec.io.remote.config import AccessConfig
from tests.faults import test_files, test_tables, test_values
from tests.faults.harness import assert_only, clean, current_rows, ingest, quarantine
from tests.faults.samples import sample
from tests.helpers.content import content_checksum


@pytest.mark.parametrize("kind", ["sdss", "jades", "desi"])
def test_a_file_larger_than_the_limit(tmp_path, kind):
    """Files that are read as a whole are refused beyond the limit."""
    files = sample(kind)
    large = files.contents[files.victim] + b"\0" * 2880 * 400
    key = next(key for key in clean(kind) if files.victim.partition(".")[0].removeprefix("coadd-") in key)
    archive = files.write(tmp_path / "archive", {files.victim: large})
    store = ingest(str(tmp_path / "store"), archive, AccessConfig(max_file_mb=1.0))
    if kind == "sdss":  # of which no more than the first 240 kB are read
        assert key in current_rows(store)
    else:
        assert_only(store, clean(kind), key, QuarantineReason.TOO_LARGE, "more than 1,000,000", files.victim)


def test_a_gzip_bomb_is_decompressed_up_to_the_limit(tmp_path, monkeypatch):
    read, unpacked = gzip.GzipFile.read, []

    def counted(self, size=-1):
        part = read(self, size)
        unpacked.append(len(part))
        return part

    files = sample("dja")
    bomb = gzip.compress(b"\0" * (1 << 26), 1)
    archive = files.write(tmp_path / "archive", {files.victim: bomb})
    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    store = ingest(str(tmp_path / "store"), archive, AccessConfig(max_unpacked_mb=8.0))
    assert_only(
        store, clean("dja"), files.victim, QuarantineReason.TOO_LARGE, "decompress to more than 8,000,000"
    )
    assert sum(unpacked) == 8_000_001


RUNS = re.compile(
    r"\bpickle\b|\bshelve\b|\bmarshal\b|\bdill\b|allow_pickle|\btorch\.load\b|(?<![\w.])(?:eval|exec)\(|yaml\.load\b"
    r"|os\.system|subprocess|shell=True|__import__|\bcompile\(|read_pickle|joblib\.load"
)
SAFE = {"torch.compile(", "re.compile(", "allow_pickle=False"}


def test_the_package_executes_no_code_from_files():
    package = Path(distspec.__file__).parent
    found = [
        f"{path.relative_to(package)}: {line.strip()}"
        for path in sorted(package.rglob("*.py"))
        for line in path.read_text().splitlines()
        if RUNS.search(line) and not any(safe in line for safe in SAFE)
    ]
    assert found == []


def damaged():
    """Return the cases of DJA files that are quarantined."""
    cases = [*test_files.CASES, *test_tables.CASES, *test_values.CASES]
    return [case for case in cases if case.kind == "dja" and case.reason is not None and not case.row]


def test_good_files_are_unaffected_if_a_third_is_bad(tmp_path):
    """A store with damaged files in its archive is bitwise equal to one without them."""
    files = sample("dja")
    bad = damaged()
    bad = bad[:: len(bad) // 18][:18]
    assert len(bad) == 18
    originals = {row["file"]: row for row in files.rows}
    contents, rows = dict(files.contents), list(files.rows)
    for i in range(42 - len(files.rows)):
        source = list(originals)[i % len(originals)]
        name = f"{'abcxyz'[i % 6]}{i:02d}.spec.fits"
        contents[name] = files.contents[source]
        rows.append({**originals[source], "file": name, "ra": f"{10 + i}.5"})
    good = list(rows)
    for i, case in enumerate(bad):
        name = f"{'abcmxyz'[i % 7]}-bad{i:02d}.spec.fits"
        contents[name] = case.damage(files.contents[files.victim])
        # At the position of a good file, so that a source made by a bad file would be detected.
        rows.append({**originals[files.victim], "file": name, "ra": f"{10 + i}.5"})
    assert len(rows) == 60
    access = AccessConfig(max_unpacked_mb=4.0)
    archive = files.write(tmp_path / "archive", contents, rows)
    mixed = ingest(str(tmp_path / "mixed"), archive, access, commit_rows=7)
    archive = files.write(tmp_path / "archive", contents, good)
    alone = ingest(str(tmp_path / "alone"), archive, access, commit_rows=11)
    assert len(quarantine(mixed)) == 18
    assert {row["reason"] for row in quarantine(mixed).values()} == {str(case.reason) for case in bad}
    assert set(current_rows(mixed)) == {row["file"] for row in good}
    assert content_checksum(mixed) == content_checksum(alone)
    assert mixed.dataset_checksum() == alone.dataset_checksum()
    assert not quarantine(alone)
