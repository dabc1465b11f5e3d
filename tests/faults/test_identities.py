"""Cases 61–72: keys that are repeated, changed, removed or invalid; case 67 is in test_service.py."""

import duckdb
import pytest

from distspec.core.errors import QuarantineReason
from distspec.core.text import format_table
from distspec.ingest.diff import compare_listing
from tests.faults.damage import table
from tests.faults.harness import assert_only, assert_same, clean, current_rows, ingest, quarantine
from tests.faults.samples import sample, write_parquet

PATH_NAMES = ("../outside.fits", "/etc/passwd", "a/../../b", "..", ".", "...", "a\\b", "spec.fits/..")
INVALID_NAMES = ("", "nul\0byte", "line\nbreak", "\x1b[2Jclear", "‮reversed", "x" * 201, "y" * 10_000)
UNUSUAL_NAMES = (
    "<script>alert(1)</script>".replace("/", "∕"),
    "<img src=x onerror=alert(1)>",
    "'; DROP TABLE objects; --",
    'quote".spec.fits',
    "{{ 7 * 7 }} ${HOME} `id`",
    "%2e%2e%2fsecret",
    "étoile λ 1.fits",
    "=cmd|' C'!A0",
)


@pytest.fixture
def files():
    return sample("dja")


def with_row(files, **changed):
    """Return the catalog with one more row, a changed copy of the victim's."""
    victim = next(row for row in files.rows if row["file"] == files.victim)
    return [*files.rows, {**victim, **changed}]


def run(tmp_path, archive, **options):
    return ingest(str(tmp_path / "store"), archive, **options)


def test_061_identical_rows_count_once(files, tmp_path):
    store = run(tmp_path, files.write(tmp_path / "archive", rows=with_row(files)))
    assert current_rows(store) == clean("dja")
    assert store.n_rows == len(clean("dja"))
    assert not quarantine(store)


@pytest.mark.parametrize(
    "changed", [{"version": "1.0.0"}, {"z_best": "3.3"}, {"ra": "151.0"}, {"root": "other"}]
)
def test_062_a_key_with_different_values_is_ambiguous(files, tmp_path, changed):
    archive = files.write(tmp_path / "archive", rows=with_row(files, **changed))
    store = run(tmp_path, archive)
    assert_only(
        store, clean("dja"), files.victim, QuarantineReason.AMBIGUOUS, "listed 2 times, with 2 different"
    )
    assert compare_listing(archive.list_spectra(), store).is_empty
    store = run(tmp_path, files.write(tmp_path / "archive"))
    assert current_rows(store) == clean("dja"), "after the archive has corrected its catalog"
    assert not quarantine(store)


def test_063_a_repeat_observation_belongs_to_the_same_source(files, tmp_path):
    victim = next(row for row in files.rows if row["file"] == files.victim)
    rows = with_row(files, file="again.spec.fits", ra=str(float(victim["ra"]) + 0.3 / 3600))
    archive = files.write(tmp_path / "archive", {"again.spec.fits": files.contents[files.victim]}, rows)
    found = current_rows(run(tmp_path, archive))
    assert set(found) == {*clean("dja"), "again.spec.fits"}
    first = found[files.victim].ledger["source_id"]
    assert found["again.spec.fits"].ledger["source_id"] == first
    sources = {row.ledger["source_id"] for row in found.values()}
    assert len(sources) == len(clean("dja")), "two spectra, one source"
    assert found["again.spec.fits"].flux.tobytes() == found[files.victim].flux.tobytes()


@pytest.mark.parametrize("kind", ["dja", "sdss"])
def test_064_a_new_etag_is_a_new_version(tmp_path, kind):
    files = sample(kind)
    options = {"version_by_etag": True} if kind == "dja" else {}
    hdu, key = {"dja": ("SPEC1D", files.victim), "sdss": ("COADD", files.id_of(files.victim))}[kind]
    before = run(tmp_path, files.write(tmp_path / "archive", **options))
    longer = table(files.contents[files.victim], hdu, lambda c: {"flux": c["flux"] * 2.0, "more": c["flux"]})
    store = run(tmp_path, files.write(tmp_path / "archive", {files.victim: longer}, **options))
    assert store.n_rows == before.n_rows + 1
    old, new = current_rows(before), current_rows(store)
    assert old.pop(key) != new[key]
    assert new.pop(key).ledger["norm"] == pytest.approx(2.0 * clean(kind)[key].ledger["norm"], rel=1e-6)
    assert new == old, "other rows are unchanged"


def test_065_a_file_deleted_after_the_listing(files, tmp_path):
    archive = files.write(tmp_path / "archive")
    listing = archive.list_spectra()
    (tmp_path / "archive" / files.victim).unlink()
    store = run(tmp_path, archive)
    assert_only(store, clean("dja"), files.victim, QuarantineReason.NOT_FOUND, "no file at .*" + files.victim)
    assert compare_listing(listing, store).is_empty, "the next ingest does not try again"
    store = run(tmp_path, files.write(tmp_path / "archive"), retry=True)
    assert current_rows(store) == clean("dja")
    assert not quarantine(store)


def test_066_a_row_withdrawn_from_the_catalog(files, tmp_path):
    run(tmp_path, files.write(tmp_path / "archive"))
    fewer = [row for row in files.rows if row["file"] != files.victim]
    store = run(tmp_path, files.write(tmp_path / "archive", rows=fewer))
    assert current_rows(store) == {key: row for key, row in clean("dja").items() if key != files.victim}
    assert store.n_rows == len(clean("dja")), "no row is deleted"
    assert not quarantine(store)
    store = run(tmp_path, files.write(tmp_path / "archive"))
    assert current_rows(store) == clean("dja"), "the row is current again"


def test_068_a_row_without_a_file(files, tmp_path):
    store = run(tmp_path, files.write(tmp_path / "archive", rows=with_row(files, file="nowhere.spec.fits")))
    assert_only(
        store,
        clean("dja"),
        "nowhere.spec.fits",
        QuarantineReason.NOT_FOUND,
        "no file at .*/nowhere.spec.fits",
    )


def with_names(files, tmp_path, names, contents=True, **changed):
    """Return an archive that has the victim under more names."""
    rows = [*files.rows, *({**with_row(files, file=name)[-1], **changed} for name in names)]
    archive = files.write(
        tmp_path / "archive", dict.fromkeys(names, files.contents[files.victim]) if contents else {}
    )
    catalog = write_parquet(tmp_path / "catalog.parquet", rows)
    return files.archive(tmp_path / "archive", [], catalog=catalog) if archive else None


def test_069_070_invalid_keys_are_quarantined(files, tmp_path):
    (tmp_path / "outside.fits").write_bytes(files.contents[files.victim])
    missing = ("", "...")  # rows without a name are counted, but not selected
    bad = [name for name in (*PATH_NAMES, *INVALID_NAMES) if name not in missing]
    archive = with_names(files, tmp_path, bad, contents=False)
    store = run(tmp_path, archive)
    assert current_rows(store) == clean("dja")
    entries = quarantine(store)
    assert {entry["reason"] for entry in entries.values()} == {QuarantineReason.BAD_ID}
    assert len(entries) == len(bad), "each key has its own entry"
    for entry in entries.values():
        shown = "".join(str(value) for value in entry.values())
        assert shown.isprintable(), entry
        assert len(entry["object_id"]) <= 200
        assert len(entry["detail"]) < 500
        assert "key of" in entry["detail"]
    assert compare_listing(archive.list_spectra(), store).is_empty


@pytest.mark.parametrize("root", ["../..", "a/../../..", "/etc", "x\ny", "\\..\\.."])
def test_069_a_folder_outside_the_archive_is_refused(files, tmp_path, root):
    (tmp_path / "secret.fits").write_bytes(files.contents[files.victim])
    # The path template is the one that finds the first file: with its root.
    rows = [{**row, "root": "."} for row in files.rows]
    archive = files.write(tmp_path / "archive")
    rows.append({**with_row(files, file="secret.fits", root=root)[-1]})
    (tmp_path / "archive" / ".").mkdir(exist_ok=True)
    archive = files.archive(tmp_path / "archive", [], catalog=write_parquet(tmp_path / "c.parquet", rows))
    store = run(tmp_path, archive)
    assert "secret.fits" not in current_rows(store)
    entry = quarantine(store)["secret.fits"]
    assert entry["reason"] in {QuarantineReason.OUTSIDE, QuarantineReason.NOT_FOUND}
    assert entry["reason"] == QuarantineReason.OUTSIDE or root == "/etc"
    assert "".join(map(str, entry.values())).isprintable()


def test_071_072_unusual_names_are_ingested(files, tmp_path):
    store = run(tmp_path, with_names(files, tmp_path, UNUSUAL_NAMES))
    assert not quarantine(store)
    found = current_rows(store)
    assert set(found) == {*clean("dja"), *UNUSUAL_NAMES}
    for name in UNUSUAL_NAMES:
        assert_same(found[name], found[files.victim])


def test_071_072_unusual_names_are_quoted_in_sql_and_on_terminals(files, tmp_path):
    """They are values in SQL, and text in the columns of a terminal."""
    store = run(tmp_path, with_names(files, tmp_path, UNUSUAL_NAMES, contents=False))
    refused = store.read_quarantine()
    assert set(refused["object_id"].to_pylist()) == set(UNUSUAL_NAMES)
    with duckdb.connect() as connection:
        connection.register("quarantine", refused)
        connection.register("ledger", store.ledger())
        for name in UNUSUAL_NAMES:
            quoted = name.replace("'", "''")
            sql = f"SELECT object_id, detail FROM quarantine WHERE object_id = '{quoted}'"
            assert [row[0] for row in connection.sql(sql).fetchall()] == [name]
            counted = connection.execute("SELECT count(*) FROM quarantine WHERE object_id = ?", [name])
            assert counted.fetchall() == [(1,)]
        assert connection.sql("SELECT count(*) FROM ledger").fetchall() == [(len(clean("dja")),)]
    lines = format_table(refused.select(["object_id", "reason"])).splitlines()
    assert len(lines) == 1 + len(UNUSUAL_NAMES)
    for name in UNUSUAL_NAMES:
        assert sum(line.startswith(f"  {name} ") for line in lines) == 1, name


def test_a_folder_in_place_of_a_file(files, tmp_path):
    archive = files.write(tmp_path / "archive", {files.victim: None})
    (tmp_path / "archive" / files.victim).mkdir()
    assert_only(run(tmp_path, archive), clean("dja"), files.victim, QuarantineReason.NOT_FOUND, "no file at")
