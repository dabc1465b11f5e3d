"""What is too large, what would run as code, and a whole archive of which a third is bad."""

import gzip
import re
from pathlib import Path

import pytest

import distspec
from distspec.core.errors import QuarantineReason
from distspec.io.remote.config import AccessConfig
from tests.faults import test_files, test_tables, test_values
from tests.faults.harness import assert_only, clean, ingest, quarantine, standing
from tests.faults.samples import sample
from tests.helpers.content import content_checksum


@pytest.mark.parametrize("kind", ["sdss", "jades", "desi"])
def test_more_of_a_file_than_is_read(tmp_path, kind):
    """What is read whole is refused beyond the limit."""
    files = sample(kind)
    large = files.contents[files.victim] + b"\0" * 2880 * 400
    key = next(key for key in clean(kind) if files.victim.partition(".")[0].removeprefix("coadd-") in key)
    archive = files.write(tmp_path / "archive", {files.victim: large})
    store = ingest(str(tmp_path / "store"), archive, AccessConfig(max_file_mb=1.0))
    if kind == "sdss":  # of which no more than the first 240 kB are read
        assert key in standing(store)
    else:
        assert_only(store, clean(kind), key, QuarantineReason.TOO_LARGE, "more than 1,000,000", files.victim)


def test_of_a_bomb_no_more_is_unpacked_than_allowed(tmp_path, monkeypatch):
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


def test_nothing_that_is_read_can_run():
    package = Path(distspec.__file__).parent
    found = [
        f"{path.relative_to(package)}: {line.strip()}"
        for path in sorted(package.rglob("*.py"))
        for line in path.read_text().splitlines()
        if RUNS.search(line) and not any(safe in line for safe in SAFE)
    ]
    # Git is asked which code this is: nothing that was read is in that command.
    assert [line for line in found if not line.startswith("lineage.py")] == []
    assert all("subprocess" in line for line in found)


def damaged():
    """Faults of DJA's files that have a reason, and how each is made."""
    cases = [*test_files.CASES, *test_tables.CASES, *test_values.CASES]
    return [case for case in cases if case.kind == "dja" and case.reason is not None and not case.row]


def test_a_third_of_the_files_is_bad(tmp_path):
    """What comes of an archive with bad files is, to the last bit, what comes of its good ones."""
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
        # At the place of a good one: a source that is opened by a file that fails would show.
        rows.append({**originals[files.victim], "file": name, "ra": f"{10 + i}.5"})
    assert len(rows) == 60
    access = AccessConfig(max_unpacked_mb=4.0)
    archive = files.write(tmp_path / "archive", contents, rows)
    mixed = ingest(str(tmp_path / "mixed"), archive, access, commit_rows=7)
    archive = files.write(tmp_path / "archive", contents, good)
    alone = ingest(str(tmp_path / "alone"), archive, access, commit_rows=11)
    assert len(quarantine(mixed)) == 18
    assert {row["reason"] for row in quarantine(mixed).values()} == {str(case.reason) for case in bad}
    assert set(standing(mixed)) == {row["file"] for row in good}
    assert content_checksum(mixed) == content_checksum(alone)
    assert mixed.dataset_checksum() == alone.dataset_checksum()
    assert not quarantine(alone)
