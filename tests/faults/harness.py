"""The whole of ingest without Ray, over folders of real files, damaged ones among them."""

from __future__ import annotations

import csv
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distspec.access import DEFAULT_ACCESS, AccessConfig
from distspec.archives.desi import DESI
from distspec.archives.dja import DJA
from distspec.archives.jades import JADES
from distspec.archives.sdss import SDSS
from distspec.archives.spex import SpeX
from distspec.archives.synthetic import SyntheticConfig, write_shard, write_tables
from distspec.committing import Committer, Here
from distspec.growth import difference
from distspec.ingestion import load, settings
from distspec.preprocessing import GridConfig, NormConfig
from distspec.spectrum import Reason
from distspec.store import Frozen, Store, create_store, open_store, store_exists
from tests.conftest import DATA, real_data

BATCH = 3
"""Spectra that are read together: a fault has neighbours in its batch, and batches after it."""

GALAXIES = (GridConfig(n_pixels=320), NormConfig())
FIBRES = (
    GridConfig(start=1200.0, stop=9000.0, n_pixels=320),
    NormConfig(reference=4200.0, windows=((4150.0, 4250.0), (5450.0, 5550.0), (1680.0, 1840.0))),
)
DWARFS = (
    GridConfig(start=6600.0, stop=25400.0, n_pixels=256),
    NormConfig(reference=12800.0, windows=((12600.0, 13000.0), (15800.0, 16200.0)), slope=0.0),
)
SCHEMES: Mapping[str, tuple[GridConfig, NormConfig]] = {
    "dja": GALAXIES,
    "jades": GALAXIES,
    "sdss": FIBRES,
    "desi": FIBRES,
    "spex": DWARFS,
}
"""To what grid and scale an archive's spectra are brought here."""


@dataclass(frozen=True)
class Sample:
    """A few files of one archive, and the rows of its catalogue on them."""

    kind: str
    contents: Mapping[str, bytes]
    rows: Sequence[Mapping[str, Any]] = ()
    victim: str = ""
    """The file that is exchanged; in the middle, where the archive has as many."""

    def write(
        self,
        folder: Path,
        changed: Mapping[str, bytes | None] | None = None,
        rows: Sequence[Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> Any:
        """Write the files, some with other content or, for None, not at all; return their archive."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in {**self.contents, **(changed or {})}.items():
            path = folder / name
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_bytes(content)
                os.utime(path, ns=(0, 0))  # versions made of it are the same wherever it is copied to
        return self.archive(folder, self.rows if rows is None else rows, **options)

    def archive(self, folder: Path, rows: Sequence[Mapping[str, Any]], **options: Any) -> Any:
        """Write the catalogue and return the archive of a folder."""
        catalog = str(folder / "catalog.csv")
        if rows:
            write_csv(Path(catalog), rows)
        made: dict[str, Callable[[], Any]] = {
            "dja": lambda: DJA(**{"url": str(folder), "catalog": catalog, "z_min": -1.0} | options),
            "jades": lambda: JADES(**{"url": str(folder), "catalog": catalog} | options),
            "sdss": lambda: SDSS(**{"url": str(folder)} | options),
            "desi": lambda: DESI(**{"url": str(folder)} | options),
            "spex": lambda: SpeX(**{"url": str(folder), "catalog": catalog} | options),
        }
        return made[self.kind]()

    def id_of(self, name: str) -> str:
        """Return a file's object_id."""
        return {"sdss": name.removesuffix(".fits")}.get(self.kind, name)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as a catalogue."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows as a catalogue that may hold any text; return its path."""
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
    return str(path)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read a catalogue's rows."""
    with path.open() as file:
        return list(csv.DictReader(file))


@cache
def sample(kind: str) -> Sample:
    """Return the files that a kind's cases are made of; skips where there are none."""
    return {"dja": _dja, "jades": _jades, "sdss": _sdss, "desi": _desi, "spex": _spex}[kind]()


def _dja() -> Sample:
    if (DATA / "dja").exists():
        return _dja_of(DATA / "dja", "capers-*-v4_*.spec.fits", 5)
    with tempfile.TemporaryDirectory() as folder:
        config = SyntheticConfig(n_spectra=8, low_grade_share=0.0, artefact_share=0.0, images=True)
        write_tables(config, folder)
        write_shard(config, folder, 0, 8)
        return _dja_of(Path(folder), "*.spec.fits", 5)


def _dja_of(folder: Path, pattern: str, n: int) -> Sample:
    names = [path.name for path in sorted(folder.glob(pattern))][:n]
    rows = {row["file"]: row for row in read_csv(folder / "catalog.csv")}
    return Sample("dja", _contents(folder, names), [rows[name] for name in names], names[n // 2])


def _jades() -> Sample:
    folder = real_data("jades")
    names = [path.name for path in sorted(folder.glob("[01]*_prism_clear_v*_1D.fits"))][:5]
    rows = [{"file": name, "z": 5.0 + 0.1 * i, "ra": 53.0 + i, "dec": -27.0} for i, name in enumerate(names)]
    return Sample("jades", _contents(folder, names), rows, names[2])


def _sdss() -> Sample:
    folder = real_data("sdss")
    rows = [row for row in read_csv(folder / "labels.csv") if row["zwarning"] == "0"]
    names = sorted(row["file"] for row in rows)
    names = [*names[:2], *names[-3:]]  # of SDSS-I and of BOSS
    return Sample("sdss", _contents(folder, names), victim=names[2])


def _desi() -> Sample:
    folder = real_data("desi")
    names = [path.name for path in sorted(folder.glob("[cr]*-*.fits"))]
    return Sample("desi", _contents(folder, names), victim="coadd-special-dark-27247.fits")


def _spex() -> Sample:
    folder = real_data("spex")
    rows = read_csv(folder / "labels.csv")[:5]
    names = [row["DATA_FILE"] for row in rows]
    return Sample("spex", _contents(folder / "spectra", names), rows, names[2])


def _contents(folder: Path, names: Sequence[str]) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names}


def ingest(
    url: str, archive: Any, access: AccessConfig = DEFAULT_ACCESS, retry: bool = False, commit_rows: int = 8
) -> Store:
    """Do what `distspec.stages.ingest.ingest` does, in this process, on a grid chosen beforehand."""
    grid, norm = SCHEMES[archive.kind]
    if not store_exists(url):
        frozen = grid.resolve(np.array([0.0])), norm.reference, norm.slope, settings(grid, norm)
        create_store(url, Frozen(*frozen, kind=archive.kind))
    store = open_store(url)
    found = difference(archive.list(access), store, retry)
    committer = Committer(store, commit_rows, Here())
    for start in range(0, len(found.todo), BATCH):
        rows = found.todo.slice(start, BATCH)
        committer.add(load(archive, access, rows, store.frozen.grid, norm, store.frozen.sample_slope))
    committer.finish(found)
    return open_store(url)


@dataclass(frozen=True, eq=False)
class Row:
    """One standing row of a store, wherever its file lay and whichever commit brought it."""

    ledger: Mapping[str, Any]
    flux: Any
    ivar: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Row) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[str, bytes, bytes]:
        return repr(sorted(self.ledger.items())), self.flux.tobytes(), self.ivar.tobytes()


def standing(store: Store) -> dict[str, Row]:
    """Return the rows that stand, by object_id."""
    rows = store.standing()
    ledger = store.ledger().take(pa.array(rows)).drop_columns(["uri", "batch"]).to_pylist()
    flux, ivar = store.spectra(rows)
    return {row["object_id"]: Row(row, flux[i], ivar[i]) for i, row in enumerate(ledger)}


def quarantine(store: Store) -> dict[str, dict[str, str]]:
    """Return what is in quarantine, by object_id."""
    return {row["object_id"]: row for row in store.quarantine().to_pylist()}


@cache
def clean(kind: str) -> dict[str, Row]:
    """Return the rows of a kind's sample when nothing is wrong with it."""
    with tempfile.TemporaryDirectory() as folder:
        archive = sample(kind).write(Path(folder) / "archive")
        store = ingest(f"{folder}/store", archive)
        assert not quarantine(store)
        return standing(store)


def assert_only(
    store: Store, expected: Mapping[str, Row], object_id: str, reason: Reason, seen: str, uri: str = ""
) -> None:
    """Assert that one object is in quarantine, for that reason, and that the others' rows are as expected."""
    assert standing(store) == {key: row for key, row in expected.items() if key != object_id}
    entries = quarantine(store)
    assert set(entries) == {object_id}
    entry = entries[object_id]
    assert entry["reason"] == str(reason), entry["seen"]
    assert re.search(seen, entry["seen"]), entry["seen"]
    assert entry["uri"].partition("#")[0].endswith(uri or object_id), entry["uri"]


class Case(NamedTuple):
    """A fault of one file: how it is made, and how it ends; without a reason, as the row that there was."""

    number: int
    name: str
    kind: str
    damage: Callable[[bytes], bytes | None]
    reason: Reason | None = None
    seen: str = ""
    compare: Callable[[Row, Row], None] | None = None
    """Asserts what holds between the row that comes of it and the undamaged file's, where they differ."""
    row: Mapping[str, Any] = {}
    """What the catalogue says of it, unlike of the undamaged file."""

    def __str__(self) -> str:
        return f"{self.number:03d}-{self.name}-{self.kind}"

    @property
    def file(self) -> str:
        """Name of the damaged file."""
        return {
            "dja": f"{self}_prism-clear_1_{self.number}.spec.fits",
            "jades": f"{self}_1D.fits",
            "sdss": f"spec-{self}.fits",
            "desi": f"coadd-{self}.fits",
            "spex": f"{self}.fits.gz",
        }[self.kind]

    @property
    def object_id(self) -> str:
        """What the archive calls its spectrum."""
        if self.kind == "desi":
            return f"{self}-39089837499744649"
        return sample(self.kind).id_of(self.file)


class Outcomes:
    """How cases end, all of a kind being ingested together, between files with which nothing is wrong."""

    def __init__(self, cases: Sequence[Case], folder: Path, access: AccessConfig = DEFAULT_ACCESS) -> None:
        self._cases, self._folder, self._access = cases, folder, access
        self._ended: dict[str, tuple[dict[str, Row], dict[str, dict[str, str]]]] = {}

    def check(self, case: Case) -> None:
        """Assert that one case ends as it must."""
        rows, refused = self._of(case.kind)
        if case.reason is not None:
            assert case.object_id not in rows
            entry = refused[case.object_id]
            assert entry["reason"] == str(case.reason), entry["seen"]
            assert re.search(case.seen, entry["seen"]), entry["seen"]
            assert entry["uri"].partition("#")[0].endswith(case.file)
        else:
            assert case.object_id not in refused, refused[case.object_id]["seen"]
            (case.compare or assert_same)(rows[case.object_id], undamaged(case.kind))

    def row(self, case: Case) -> Row:
        """Return the row that comes of a case."""
        return self._of(case.kind)[0][case.object_id]

    def check_neighbours(self, kind: str) -> None:
        """Assert that every spectrum ended once, and the undamaged ones as if they were alone."""
        rows, refused = self._of(kind)
        cases = [case for case in self._cases if case.kind == kind]
        assert set(refused) == {case.object_id for case in cases if case.reason is not None}
        good = {case.object_id for case in cases if case.reason is None}
        assert {key: row for key, row in rows.items() if key not in good} == clean(kind)

    def _of(self, kind: str) -> tuple[dict[str, Row], dict[str, dict[str, str]]]:
        if kind not in self._ended:
            files = sample(kind)
            original = files.contents[files.victim]
            changed: dict[str, bytes | None] = {}
            rows = list(files.rows)
            key = {"spex": "DATA_FILE"}.get(kind, "file")
            victim = next((row for row in rows if row[key] == files.victim), {})
            for case in self._cases:
                if case.kind == kind:
                    changed[case.file] = case.damage(original)
                    assert changed[case.file] != original or case.row, f"{case} changes nothing"
                    rows += [{**victim, key: case.file, **case.row}] if victim else []
                    if kind == "desi":
                        redrock = files.contents[files.victim.replace("coadd", "redrock")]
                        changed[case.file.replace("coadd", "redrock")] = redrock
            archive = files.write(self._folder / kind / "archive", changed, rows)
            store = ingest(str(self._folder / kind / "store"), archive, self._access)
            self._ended[kind] = standing(store), quarantine(store)
            assert difference(archive.list(self._access), store).is_nothing
        return self._ended[kind]


def undamaged(kind: str) -> Row:
    """Return the row of the file that cases are made of."""
    stem = sample(kind).victim.partition(".")[0].removeprefix("coadd-")
    return next(row for key, row in clean(kind).items() if stem in key)


NAMES = {"object_id", "version", "root", "srcid"}


def assert_same(row: Row, other: Row) -> None:
    """Assert that two rows say the same, but for what their files are called."""
    ours, theirs = ({k: v for k, v in each.ledger.items() if k not in NAMES} for each in (row, other))
    assert repr(ours) == repr(theirs)  # NaN is NaN
    assert np.array_equal(row.flux, other.flux)
    assert np.array_equal(row.ivar, other.ivar)


def assert_close(row: Row, other: Row) -> None:
    """Assert that two rows hold the same numbers to rounding."""
    assert np.array_equal(row.ivar > 0, other.ivar > 0)
    for ours, theirs in ((row.flux, other.flux), (row.ivar, other.ivar)):
        assert np.allclose(ours, theirs, rtol=2e-4, atol=1e-5)
    for name in ("z", "norm", "norm_err"):
        assert np.isclose(row.ledger[name], other.ledger[name], rtol=1e-4, atol=1e-7), name
