"""Cases 40–60: values in intact tables, and flags of the archive."""

import numpy as np
import pytest

from distspec.core.errors import QuarantineReason
from tests.faults.damage import cells, image, table
from tests.faults.harness import Case, Outcomes, assert_same, clean, ingest, quarantine, undamaged
from tests.faults.samples import sample

BAD_WAVE, NO_PIXELS, NO_TARGET = (
    QuarantineReason.BAD_WAVE,
    QuarantineReason.NO_VALID_PIXELS,
    QuarantineReason.NOT_A_TARGET,
)
KINDS = ("dja", "sdss", "jades", "desi")
SOME = slice(250, 262)
"""Pixels in the middle of a DJA spectrum, outside the normalization windows."""


def spec1d(change, **options):
    return lambda content: table(content, "SPEC1D", change, **options)


def coadd(change):
    return lambda content: table(content, "COADD", change)


def summary(**values):
    """Set values of the SDSS summary table."""
    return lambda content: cells(content, "SPALL", **values)


def fibermap(**values):
    return lambda content: cells(content, "FIBERMAP", **values)


def put(name, where, value):
    """Return a change that sets some elements of a column to one value."""

    def change(columns):
        changed = columns[name].copy()
        changed[where] = value
        return {name: changed}

    return change


def swapped(values, i=200):
    return {"wave": np.concatenate([values["wave"][:i], values["wave"][[i + 1, i]], values["wave"][i + 2 :]])}


def lost_some(row, other):
    """Assert that some pixels are masked, and that other pixels and the normalization are unchanged."""
    lost = (other.ivar > 0) & (row.ivar == 0)
    is_valid = (other.ivar > 0) & (row.ivar > 0)
    assert 0 < lost.sum() < 30
    assert not row.flux[lost].any()
    assert row.ledger["n_valid"] == is_valid.sum()
    same = is_valid & (row.ivar == other.ivar) & (row.flux == other.flux)
    # A grid pixel that is partly masked has the flux of the rest.
    assert is_valid.sum() - same.sum() <= 4
    assert row.ledger["norm"] == other.ledger["norm"]


def another_window(row, other):
    assert row.ledger["norm_window"] > other.ledger["norm_window"] == 0
    assert np.isclose(row.ledger["norm"], other.ledger["norm"], atol=5 * other.ledger["norm_err"])


def constant(row, other):
    assert row.ledger["n_valid"] > 100
    good = row.ivar > 0
    # A constant f_ν is proportional to λ⁻² in f_λ.
    grid = np.geomspace(1100.0, 8400.0, 321)
    wave = np.sqrt(grid[1:] * grid[:-1])
    power = row.flux[good] * wave[good] ** 2
    assert np.allclose(power, np.median(power), rtol=0.02)


def with_z(z):
    def compare(row, other):
        assert row.ledger["z"] == pytest.approx(z)
        assert row.ledger["n_valid"] > 30

    return compare


def redward(z, low, high):
    """Return a function that selects the observed wavelengths [µm] of a rest-frame range [Å]."""
    return lambda wave: (wave * 1e4 / (1 + z) > low) & (wave * 1e4 / (1 + z) < high)


def victim_z():
    files = sample("dja")
    return next(float(row["z_best"]) for row in files.rows if row["file"] == files.victim)


def in_window(low, high, **values):
    def change(columns):
        inside = redward(victim_z(), low, high)(columns["wave"])
        assert inside.sum() > 3
        return {name: np.where(inside, value, columns[name]) for name, value in values.items()}

    return change


def everywhere_negative(columns):
    return {"flux": -np.abs(columns["flux"])}


NAN, INF = np.nan, np.inf
CASES = [
    Case(40, "all-nan", "dja", spec1d(lambda c: {"flux": c["flux"] * NAN}), NO_PIXELS, "0 of 473"),
    Case(40, "all-nan", "sdss", coadd(lambda c: {"flux": c["flux"] * NAN}), NO_PIXELS, "0 of \\d+ pixels"),
    Case(40, "all-nan", "jades", lambda c: image(c, lambda d: {"DATA": d["DATA"] * NAN}), NO_PIXELS, "0 of"),
    Case(41, "some-nan", "dja", spec1d(put("flux", SOME, NAN)), compare=lost_some),
    Case(41, "some-nan-errors", "dja", spec1d(put("err", SOME, NAN)), compare=lost_some),
    Case(42, "some-inf", "dja", spec1d(put("flux", SOME, INF)), compare=lost_some),
    Case(42, "some-inf-errors", "dja", spec1d(put("err", SOME, INF)), compare=lost_some),
    Case(42, "inf-wavelength", "dja", spec1d(put("wave", 472, INF)), BAD_WAVE, "1 of them not finite"),
    Case(
        43, "every-pixel-masked", "sdss", coadd(lambda c: {"ivar": c["ivar"] * 0}), NO_PIXELS, "ivar is 0 in"
    ),
    Case(
        43,
        "every-pixel-masked-by-bits",
        "sdss",
        coadd(lambda c: {"and_mask": c["and_mask"] | (1 << 24)}),
        NO_PIXELS,
        "0 of",
    ),
    Case(
        43,
        "every-pixel-masked",
        "desi",
        lambda c: image(c, lambda d: {f"{a}_MASK": d[f"{a}_MASK"] | 1 for a in "BRZ"}),
        NO_PIXELS,
        "0 of",
    ),
    Case(44, "negative-variance", "sdss", coadd(lambda c: {"ivar": -c["ivar"]}), NO_PIXELS, "0 of"),
    Case(44, "some-negative-errors", "dja", spec1d(put("err", SOME, -0.01)), compare=lost_some),
    Case(45, "zero-errors", "dja", spec1d(lambda c: {"err": c["err"] * 0}), NO_PIXELS, "0 of 473"),
    Case(45, "some-zero-errors", "dja", spec1d(put("err", SOME, 0.0)), compare=lost_some),
    Case(
        46, "constant-flux", "dja", spec1d(lambda c: {"flux": np.full(len(c["flux"]), 0.5)}), compare=constant
    ),
    Case(
        46,
        "constant-flux",
        "sdss",
        coadd(lambda c: {"flux": np.full_like(c["flux"], 3.0)}),
        NO_TARGET,
        "flux is 3 in all.*broken fiber",
    ),
    Case(47, "zero-flux", "dja", spec1d(lambda c: {"flux": c["flux"] * 0}), NO_PIXELS, "0 of 473"),
    Case(47, "zero-flux", "sdss", coadd(lambda c: {"flux": c["flux"] * 0}), NO_TARGET, "broken fiber"),
    Case(
        47,
        "zero-flux",
        "jades",
        lambda c: image(c, lambda d: {"DATA": d["DATA"] * 0}),
        QuarantineReason.NO_NORMALIZATION,
        "first window",
    ),
    Case(48, "spike", "dja", spec1d(put("flux", 255, 1e30)), compare=lost_some),
    Case(48, "negative-spike", "dja", spec1d(put("flux", 255, -1e30)), compare=lost_some),
    Case(49, "wavelengths-not-increasing", "dja", spec1d(swapped), BAD_WAVE, "pixel 201 at .* redward"),
    Case(49, "wavelengths-falling", "dja", spec1d(lambda c: {"wave": c["wave"][::-1]}), BAD_WAVE, "redward"),
    Case(
        49,
        "wavelengths-not-increasing",
        "sdss",
        coadd(lambda c: {"loglam": c["loglam"][::-1]}),
        BAD_WAVE,
        "redw",
    ),
    Case(
        49,
        "wavelengths-negative",
        "dja",
        spec1d(lambda c: {"wave": -c["wave"]}),
        BAD_WAVE,
        "not finite and pos",
    ),
    Case(
        50,
        "repeated-wavelengths",
        "dja",
        spec1d(lambda c: {"wave": np.repeat(c["wave"][::2], 2)[:473]}),
        BAD_WAVE,
        "does not lie redward",
    ),
    Case(
        51,
        "gap",
        "dja",
        lambda c: table(c, "SPEC1D", lambda c: {}, rows=np.r_[0:250, 262:473]),
        compare=lost_some,
    ),
    Case(
        52,
        "one-pixel",
        "dja",
        lambda c: table(c, "SPEC1D", lambda c: {}, rows=slice(200, 201)),
        BAD_WAVE,
        "1 wave",
    ),
    Case(
        52,
        "no-pixel",
        "dja",
        lambda c: table(c, "SPEC1D", lambda c: {}, rows=slice(0, 0)),
        QuarantineReason.BAD_TABLE,
        "\\(0,\\)",
    ),
    Case(
        53,
        "no-overlap",
        "dja",
        spec1d(lambda c: {"wave": c["wave"] + 40.0}),
        QuarantineReason.NO_OVERLAP,
        "\\(rest\\) against 1100–8400 Å",
    ),
    Case(54, "z-nan", "sdss", summary(z=NAN), QuarantineReason.NO_REDSHIFT, "z = nan"),
    Case(54, "z-nan", "jades", lambda c: c, QuarantineReason.NO_REDSHIFT, "z = nan", row={"z": "nan"}),
    Case(54, "z-empty", "jades", lambda c: c, QuarantineReason.NO_REDSHIFT, "z = nan", row={"z": ""}),
    Case(54, "z-infinite", "sdss", summary(z=INF), QuarantineReason.NO_REDSHIFT, "z = inf"),
    Case(55, "z-below-0", "sdss", summary(z=-0.0004), compare=with_z(-0.0004)),
    Case(56, "z-999", "sdss", summary(z=-999.0), QuarantineReason.NO_REDSHIFT, "z = -999"),
    Case(56, "z-999", "jades", lambda c: c, QuarantineReason.NO_REDSHIFT, "z = nan", row={"z": "-999"}),
    Case(57, "z-above-14", "dja", lambda c: c, compare=with_z(14.44), row={"z_best": "14.44"}),
    Case(57, "z-above-14", "jades", lambda c: c, compare=with_z(14.18), row={"z": "14.18"}),
    Case(58, "redshift-warning", "sdss", summary(zwarning=4), QuarantineReason.FLAGGED, "ZWARNING 4, z = "),
    Case(
        59,
        "good-flag-broken-fibre",
        "desi",
        fibermap(coadd_fiberstatus=1 << 9),
        NO_TARGET,
        "COADD_FIBERSTATUS 512",
    ),
    Case(59, "unplugged", "sdss", summary(zwarning=1 << 7), NO_TARGET, "ZWARNING 128"),
    Case(60, "sky-fibre", "sdss", summary(zwarning=1), NO_TARGET, "sky or unplugged"),
    Case(60, "sky-fibre-by-name", "sdss", summary(objtype="SKY"), NO_TARGET, "SKY"),
    Case(60, "sky-fibre", "desi", fibermap(objtype="SKY"), NO_TARGET, "OBJTYPE SKY"),
    Case(
        60, "first-window-masked", "dja", spec1d(in_window(1400.0, 1600.0, flux=NAN)), compare=another_window
    ),
    Case(
        60,
        "first-window-negative",
        "dja",
        spec1d(in_window(1400.0, 1600.0, flux=-0.5)),
        compare=another_window,
    ),
    Case(
        60,
        "flux-negative",
        "dja",
        spec1d(everywhere_negative),
        QuarantineReason.NO_NORMALIZATION,
        "first window .* ±",
    ),
    Case(
        60,
        "flux-within-noise",
        "dja",
        spec1d(lambda c: {"flux": c["err"] * 1e-3}),
        QuarantineReason.NO_NORMALIZATION,
        "±",
    ),
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    return Outcomes(CASES, tmp_path_factory.mktemp("values"))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case, outcomes):
    outcomes.check(case)


@pytest.mark.parametrize("kind", KINDS)
def test_other_files_are_unaffected(kind, outcomes):
    outcomes.check_other_files(kind)


def test_all_kinds_of_invalid_pixels_give_the_same_mask(outcomes):
    """Cases 41, 42, 44 and 45: the row is bitwise the same, however a pixel is invalid."""
    rows = [outcomes.row(case) for case in CASES if case.name.startswith("some-")]
    assert len(rows) == 6
    for row in rows[1:]:
        assert_same(row, rows[0])


def test_rows_without_a_redshift_are_not_selected(tmp_path):
    """Cases 54 and 56 for DJA: rows without a redshift are outside the limits of the selection."""
    files = sample("dja")
    for i, z in enumerate(("nan", "", "-999")):
        rows = [{**row, "z_best": z} if row["file"] == files.victim else row for row in files.rows]
        store = ingest(str(tmp_path / f"store{i}"), files.write(tmp_path / "archive", rows=rows))
        assert not quarantine(store)
        assert set(store.ledger()["object_id"].to_pylist()) == set(clean("dja")) - {files.victim}


def test_a_redshift_warning_of_redrock_is_quarantined_unless_accepted(tmp_path):
    """Case 58 for DESI: the redshift is flagged in the redrock file."""
    files = sample("desi")
    redrock = files.victim.replace("coadd", "redrock")
    content = cells(files.contents[redrock], "REDSHIFTS", zwarn=4)
    archive = files.write(tmp_path / "archive", {redrock: content})
    entries = quarantine(ingest(str(tmp_path / "store"), archive))
    assert [entry["reason"] for entry in entries.values()] == [QuarantineReason.FLAGGED]
    assert all("ZWARN 4" in entry["detail"] for entry in entries.values())
    archive = files.write(tmp_path / "archive", {redrock: content}, accept_z_warnings=True)
    store = ingest(str(tmp_path / "accepting"), archive)
    assert not quarantine(store)
    assert store.n_rows == 2
    assert undamaged("desi").ledger["z"] in store.ledger()["z"].to_pylist()
