"""Cases 25–39: wrong tables and images in intact files."""

import numpy as np
import pytest

from distspec.core.errors import QuarantineReason
from tests.faults.damage import card, columns, header, image, opened, order, place, table, without, written
from tests.faults.harness import Case, Outcomes, assert_close, clean, current_rows, ingest, quarantine
from tests.faults.samples import sample

BAD_TABLE, BAD_WAVE = QuarantineReason.BAD_TABLE, QuarantineReason.BAD_WAVE
STEP, NOTHING = 1e-9, -(1 << 40)
KINDS = ("dja", "sdss", "jades", "desi")


def spec1d(change, **options):
    return lambda content: table(content, "SPEC1D", change, **options)


def coadd(change, **options):
    return lambda content: table(content, "COADD", change, **options)


def images(change):
    return lambda content: image(content, change)


def more(columns):
    return {"zz_extra": np.arange(len(columns["flux"])), "zz_more": np.array(["x y"] * len(columns["flux"]))}


def little_endian(content):
    """Swap the bytes of every number, as a writer that ignores the byte order does."""
    hdus = opened(content)
    hdus["SPEC1D"].data[:] = np.asarray(hdus["SPEC1D"].data).byteswap()
    return written(hdus)


def scaled(content):
    """Store flux and error as scaled integers, one of which marks missing values."""

    def to_integers(values):
        return np.where(np.isfinite(values), np.round(values / STEP), NOTHING).astype(np.int64)

    content = spec1d(lambda c: {name: to_integers(c[name]) for name in ("flux", "err")})(content)
    hdus = opened(content)
    cards = hdus["SPEC1D"].header.copy()
    for number, name in enumerate(hdus["SPEC1D"].columns.names, 1):
        if name in ("flux", "err"):
            cards.update({f"TSCAL{number}": STEP, f"TZERO{number}": 0.0, f"TNULL{number}": NOTHING})
    # The header is replaced directly, because astropy would scale the integers again.
    start, data, _ = place(content, "SPEC1D")
    return content[:start] + cards.tostring().encode() + content[data:]


def covered_by_two(row, undamaged):
    """Assert that a spectrum without its middle camera has a gap and is otherwise unchanged."""
    lost = (undamaged.ivar > 0) & (row.ivar == 0)
    is_valid = (undamaged.ivar > 0) & (row.ivar > 0)
    assert lost.sum() > 20
    assert is_valid.sum() > 80
    assert np.isclose(row.flux[is_valid], undamaged.flux[is_valid], rtol=0.2, atol=0.2).mean() > 0.9
    assert not row.flux[lost].any()


def nothing(columns):
    return {}


CASES = [
    Case(25, "no-spectrum-hdu", "dja", lambda c: without(c, "SPEC1D"), BAD_TABLE, "no HDU SPEC1D.*SCI"),
    Case(25, "no-spectrum-hdu", "sdss", lambda c: without(c, "COADD"), BAD_TABLE, "no HDU COADD.*SPALL"),
    Case(25, "no-redshift-hdu", "sdss", lambda c: without(c, "SPALL"), BAD_TABLE, "no HDU SPECOBJ.*COADD"),
    Case(
        25, "no-wavelength-hdu", "jades", lambda c: without(c, "WAVELENGTH"), BAD_TABLE, "no HDU WAVELENGTH"
    ),
    Case(26, "other-order", "dja", lambda c: order(c, "WHT", "SCI")),
    Case(26, "other-order", "sdss", lambda c: order(c, "SPZLINE", "SPALL")),
    Case(26, "other-order", "jades", lambda c: order(c, "WAVELENGTH", "ERR")),
    Case(26, "other-order", "desi", lambda c: order(c, "Z_MASK", "R_IVAR", "B_FLUX")),
    Case(27, "upper-case", "dja", spec1d(nothing, rename=str.upper)),
    Case(27, "upper-case", "sdss", coadd(nothing, rename=str.upper)),
    Case(27, "mixed-case", "dja", spec1d(nothing, rename=str.title)),
    Case(28, "no-error", "dja", spec1d(lambda c: {"err": None}), BAD_TABLE, "no column err.*wave, flux"),
    Case(28, "no-error", "sdss", coadd(lambda c: {"ivar": None}), BAD_TABLE, "no column ivar.*loglam"),
    Case(28, "no-error", "jades", lambda c: without(c, "ERR"), BAD_TABLE, "no HDU ERR"),
    Case(
        28,
        "no-wave-and-no-error",
        "sdss",
        coadd(lambda c: {"loglam": None, "ivar": None}),
        BAD_TABLE,
        "no column loglam and no column ivar in COADD",
    ),
    Case(
        28,
        "no-wave-and-no-error",
        "jades",
        lambda c: without(c, "WAVELENGTH", "ERR"),
        BAD_TABLE,
        "no HDU WAVELENGTH and no HDU ERR",
    ),
    Case(
        29,
        "one-camera-missing",
        "desi",
        lambda c: without(c, "R_WAVELENGTH", "R_FLUX", "R_IVAR", "R_MASK"),
        compare=covered_by_two,
    ),
    Case(
        29, "half-a-camera-missing", "desi", lambda c: without(c, "R_IVAR"), BAD_TABLE, "camera R lacks ivar"
    ),
    Case(
        29,
        "all-cameras-missing",
        "desi",
        lambda c: without(c, *[f"{a}_{b}" for a in "BRZ" for b in ("WAVELENGTH", "FLUX", "IVAR", "MASK")]),
        BAD_TABLE,
        "none of the cameras",
    ),
    Case(30, "extra-columns", "dja", spec1d(more)),
    Case(30, "extra-columns", "sdss", coadd(more)),
    Case(
        31,
        "single-precision",
        "dja",
        spec1d(lambda c: {n: c[n].astype(np.float32) for n in ("wave", "flux", "err")}),
        compare=assert_close,
    ),
    Case(
        31,
        "double-precision",
        "sdss",
        coadd(lambda c: {n: c[n].astype(float) for n in ("flux", "loglam", "ivar")}),
    ),
    Case(31, "mask-of-other-integers", "sdss", coadd(lambda c: {"and_mask": c["and_mask"].astype(np.int64)})),
    Case(
        31,
        "single-precision",
        "jades",
        images(lambda d: {n: d[n].astype(np.float32) for n in ("DATA", "ERR")}),
        compare=assert_close,
    ),
    # FITS is big-endian; astropy converts native arrays on writing.
    Case(
        32,
        "from-little-endian",
        "dja",
        spec1d(
            lambda c: (
                {n: c[n].astype("<f8") for n in ("wave", "flux")}
                | {"zz": np.arange(len(c["wave"]), dtype="<i4")}
            )
        ),
    ),
    Case(32, "bytes-left-as-they-were", "dja", little_endian, BAD_WAVE, "not finite and positive|redward"),
    Case(
        33,
        "numbers-as-text",
        "dja",
        spec1d(lambda c: {"flux": c["flux"].astype("U20")}),
        BAD_TABLE,
        "flux has type <U.*not numeric",
    ),
    Case(
        33,
        "numbers-as-text",
        "sdss",
        coadd(lambda c: {"loglam": c["loglam"].astype("U12")}),
        BAD_TABLE,
        "loglam",
    ),
    Case(
        34,
        "nm-as-it-says",
        "dja",
        spec1d(lambda c: {"wave": c["wave"] * 1e3}, units={"wave": "nm"}),
        compare=assert_close,
    ),
    Case(
        34,
        "angstrom-as-it-says",
        "dja",
        spec1d(lambda c: {"wave": c["wave"] * 1e4}, units={"wave": "Angstrom"}),
        compare=assert_close,
    ),
    Case(
        34,
        "millijansky-as-it-says",
        "dja",
        spec1d(lambda c: {n: c[n] * 1e-3 for n in ("flux", "err")}, units={"flux": "mJy", "err": "mJy"}),
        compare=assert_close,
    ),
    Case(
        34,
        "nm-without-a-word",
        "dja",
        spec1d(lambda c: {"wave": c["wave"] * 1e3}),
        QuarantineReason.NO_OVERLAP,
        "Å \\(rest",
    ),
    Case(
        34,
        "angstrom-without-a-word",
        "dja",
        spec1d(lambda c: {"wave": c["wave"] * 1e4}),
        QuarantineReason.NO_OVERLAP,
        "Å",
    ),
    Case(
        34,
        "nm-without-a-word",
        "jades",
        images(lambda d: {"WAVELENGTH": d["WAVELENGTH"] * 1e9}),
        BAD_WAVE,
        "another unit",
    ),
    Case(
        34,
        "angstrom-without-a-word",
        "desi",
        images(lambda d: {"B_WAVELENGTH": d["B_WAVELENGTH"] / 10}),
        BAD_WAVE,
        "another unit",
    ),
    Case(
        34,
        "no-unit-of-a-length",
        "dja",
        spec1d(nothing, units={"wave": "kg"}),
        BAD_TABLE,
        "'kg' cannot be converted to um",
    ),
    Case(
        34, "no-unit-at-all", "dja", spec1d(nothing, units={"flux": "counts/furlong"}), BAD_TABLE, "furlong"
    ),
    Case(
        34,
        "magnitudes",
        "dja",
        spec1d(nothing, units={"flux": "mag(uJy)", "err": "mag(uJy)"}),
        BAD_TABLE,
        "mag",
    ),
    Case(35, "air", "dja", lambda c: header(c, "SPEC1D", AIRORVAC="air"), BAD_TABLE, "in air: AIRORVAC"),
    Case(35, "air", "sdss", lambda c: header(c, 0, VACUUM=False), BAD_WAVE, "VACUUM is F"),
    Case(
        36,
        "factor-lost",
        "sdss",
        coadd(lambda c: {"flux": c["flux"] * 1e-17, "ivar": c["ivar"].astype(float) * 1e34}),
        BAD_TABLE,
        "1e-17 missing or doubled",
    ),
    Case(
        36,
        "factor-not-in-the-unit",
        "sdss",
        lambda c: header(c, 0, BUNIT="erg/cm^2/s/Ang"),
        BAD_TABLE,
        "not 1e-17",
    ),
    Case(
        36,
        "factor-lost",
        "desi",
        images(
            lambda d: (
                {f"{a}_FLUX": d[f"{a}_FLUX"] * np.float32(1e-17) for a in "BRZ"}
                | {f"{a}_IVAR": d[f"{a}_IVAR"] * np.float32(1e34) for a in "BRZ"}
            )
        ),
        BAD_TABLE,
        "missing or doubled",
    ),
    Case(
        37, "linear-for-log", "sdss", coadd(lambda c: {"loglam": 10 ** c["loglam"]}), BAD_WAVE, "another unit"
    ),
    Case(
        37,
        "log-for-linear",
        "dja",
        spec1d(lambda c: {"wave": np.log10(c["wave"])}),
        BAD_WAVE,
        "not finite and pos",
    ),
    Case(
        37,
        "log-for-linear",
        "desi",
        images(lambda d: {"Z_WAVELENGTH": np.log10(d["Z_WAVELENGTH"])}),
        BAD_WAVE,
        "µm",
    ),
    Case(
        38,
        "two-values-a-row",
        "dja",
        spec1d(lambda c: {"flux": np.column_stack([c["flux"]] * 2)}),
        BAD_TABLE,
        "shapes.*\\(\\d+, 2\\)",
    ),
    Case(
        38, "images-of-unequal-length", "jades", images(lambda d: {"ERR": d["ERR"][:-1]}), BAD_TABLE, "shapes"
    ),
    Case(
        38,
        "images-of-unequal-length",
        "desi",
        images(lambda d: {"B_WAVELENGTH": d["B_WAVELENGTH"][1:]}),
        BAD_TABLE,
        "camera B: images of shapes",
    ),
    Case(
        38,
        "row-longer-than-its-columns",
        "sdss",
        lambda c: card(c, "COADD", "NAXIS1", f"NAXIS1  = {36:>20}"),
        BAD_TABLE,
        "columns fill 32 of a row's 36",
    ),
    Case(39, "tscal-and-tnull", "dja", scaled, compare=assert_close),
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    return Outcomes(CASES, tmp_path_factory.mktemp("tables"))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case, outcomes):
    outcomes.check(case)


@pytest.mark.parametrize("kind", KINDS)
def test_other_files_are_unaffected(kind, outcomes):
    outcomes.check_other_files(kind)


def test_sources_without_the_grating_are_not_listed(tmp_path):
    """Case 29 for DJA: a source without the grating is not selected."""
    files = sample("dja")
    rows = [{**row, "grating": "G395M"} if row["file"] == files.victim else row for row in files.rows]
    store = ingest(str(tmp_path / "store"), files.write(tmp_path / "archive", rows=rows))
    expected = {key: row for key, row in clean("dja").items() if key != files.victim}
    assert current_rows(store) == expected
    assert not quarantine(store)


def test_the_scaled_table_has_the_values_of_the_original():
    """astropy reads equal values, except that it scales the marker of missing ones."""
    original = sample("dja").contents[sample("dja").victim]
    values, plain = (columns(content, "SPEC1D")["flux"] for content in (scaled(original), original))
    good = np.isfinite(plain)
    assert np.allclose(values[good], plain[good], rtol=0, atol=STEP)
    assert b"TNULL2" in scaled(original)
