from itertools import pairwise

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.archives.dja import DJA
from distspec.store.sources import MATCH_RADIUS, SourceMatcher, format_position_names, separation
from distspec.store.splits import is_validation

NONE = np.array([])
ARCSEC = 1 / 3600


def assign(ra, dec, *known, **kwargs):
    return SourceMatcher(*(known or (NONE, NONE, []))).assign_sources(
        np.asarray(ra), np.asarray(dec), **kwargs
    )


def test_near_spectra_share_a_source_and_far_ones_do_not():
    ids = assign([150.0, 150.0, 150.0], [2.0, 2.0 + 0.4 * ARCSEC, 2.0 + 0.6 * ARCSEC])
    assert ids[0] == ids[1] != ids[2]


def test_distances_are_measured_on_the_sphere():
    # 0.4 arcsec in right ascension at declination 80° is 2.3 arcsec of coordinate.
    step = 0.4 * ARCSEC / np.cos(np.radians(80.0))
    assert len(set(assign([10.0, 10.0 + step], [80.0, 80.0]))) == 1
    assert len(set(assign([359.99999, 0.00001], [0.0, 0.0]))) == 1


def test_the_nearest_source_wins():
    ra = np.array([10.0, 10.0 + 0.7 * ARCSEC])
    first = assign(ra, [0.0, 0.0])
    assert len(set(first)) == 2
    (joined,) = assign([10.0 + 0.45 * ARCSEC], [0.0], ra, np.zeros(2), first)
    assert joined == first[1]


def test_the_archives_identifier_has_precedence_where_the_position_allows():
    matcher = SourceMatcher()
    ra = np.array([10.0, 10.0, 10.0 + 9 * ARCSEC, 50.0, 50.0])
    ids = matcher.assign_sources(ra, np.zeros(5), source_keys=["A", "B", "A", "A", ""])
    assert ids == ["A", "B", "A", "J032000.00+000000.0", "J032000.00+000000.0"]
    (conflict,) = matcher.conflicts
    assert (conflict.key, conflict.ra, conflict.source_id) == ("A", 50.0, ids[3])
    assert conflict.distance == pytest.approx(40 * 3600)
    later = SourceMatcher(ra, np.zeros(5), ids, key_radius=1.0)
    assert later.assign_sources(ra[2:3], np.zeros(1), ["A"]) != ["A"]


def test_spectra_without_a_position_belong_to_the_source_of_their_key():
    ra = np.array([10.0, np.nan, np.nan, 10.0])
    matcher = SourceMatcher()
    ids = matcher.assign_sources(ra, ra * 0.0, source_keys=["", "A", "B", ""])
    assert ids == ["J004000.00+000000.0", "A", "B", "J004000.00+000000.0"]
    later = SourceMatcher(ra, ra * 0.0, ids)
    assert later.assign_sources(np.array([np.nan, 10.0]), np.array([np.nan, 0.0]), ["A", ""]) == ["A", ids[0]]


def test_names_wrap_at_24_hours():
    assert assign([359.9999999], [0.0]) == ["J000000.00+000000.0"]


@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.booleans())
@settings(max_examples=40)
def test_two_batches_give_the_result_of_one(seed, cut, mixed):
    rng = np.random.default_rng(seed)
    centre = rng.uniform(0, 5e-3, 15)
    ra, dec = (centre[rng.integers(0, 15, 40)] + rng.normal(0, 1e-4, 40) for _ in range(2))
    keys = [f"K{i % 4}" if mixed and i % 3 == 0 else "" for i in range(40)]
    whole = assign(ra, dec, source_keys=keys)
    first = whole[:cut]
    names, where = np.unique(np.array(first, dtype=str), return_index=True)
    later = assign(ra[cut:], dec[cut:], ra[where], dec[where], names.tolist(), source_keys=keys[cut:])
    assert first + later == whole


def test_real_releases_against_astropy(dja_catalogs):
    """Spectra of DJA v2 join the sources of v1 that astropy's matching finds."""
    old, new = (
        DJA(
            str(dja_catalogs / f"DJA_{v}.csv"), str(dja_catalogs), grades=(-1, 0, 1, 2, 3), z_min=-1.0
        ).list_spectra()
        for v in ("v1", "v2")
    )
    assert (len(old), len(new)) == (3653, 8218)
    positions = [(t["ra"].to_numpy(), t["dec"].to_numpy()) for t in (old, new)]
    first_ids = assign(*positions[0])
    names, where = np.unique(np.array(first_ids, dtype=str), return_index=True)
    known = positions[0][0][where], positions[0][1][where], names.tolist()
    ids = assign(*positions[1], *known)
    old_sky = SkyCoord(known[0] * units.deg, known[1] * units.deg)
    _, distance, _ = SkyCoord(*positions[1] * units.deg).match_to_catalog_sky(old_sky)
    near = distance.arcsec <= MATCH_RADIUS
    joined = np.isin(ids, names)
    # A spectrum near a known source may be nearer to a new one.
    assert not np.any(joined & ~near)
    assert np.sum(near & ~joined) < 0.005 * near.sum()


@given(st.lists(st.integers(1, 40), max_size=6), st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_sources_do_not_depend_on_batches(cuts, seed):
    rng = np.random.default_rng(seed)
    ra, dec = rng.uniform(0, 3e-3, 60), rng.uniform(0, 3e-3, 60)
    whole, sources, parts = assign(ra, dec), SourceMatcher(), []
    for start, stop in pairwise([0, *np.minimum(np.cumsum(cuts), 60).tolist(), 60]):
        parts += sources.assign_sources(ra[start:stop], dec[start:stop])
    assert parts == whole


def test_rebuilding_the_tree_changes_nothing():
    rng = np.random.default_rng(3)
    ra, dec = rng.uniform(0, 0.2, 40_000), rng.uniform(0, 0.2, 40_000)
    sources = SourceMatcher()
    parts = [
        name
        for i in range(0, 40_000, 7000)
        for name in sources.assign_sources(ra[i : i + 7000], dec[i : i + 7000])
    ]
    assert parts == assign(ra, dec)


def test_the_radius_can_be_set():
    ra, dec = np.array([10.0, 10.0]), np.array([0.0, 0.4 * ARCSEC])
    assert len(set(SourceMatcher(radius=0.3).assign_sources(ra, dec))) == 2
    assert len(set(SourceMatcher(radius=0.5).assign_sources(ra, dec))) == 1


@given(st.floats(0, 360, exclude_max=True), st.floats(-90, 90))
def test_names_agree_with_astropy(ra, dec):
    rounded = np.round(ra * 240.0, 2) % 86_400.0 / 240.0
    sky = SkyCoord(rounded * units.deg, dec * units.deg)
    hours = sky.ra.to_string(unit=units.hourangle, sep="", precision=2, pad=True)
    degrees = sky.dec.to_string(sep="", precision=1, pad=True, alwayssign=True)
    assert format_position_names(np.array([ra]), np.array([dec])) == [f"J{hours}{degrees}"]


def test_separations_agree_with_astropy(rng):
    ra, dec, other_ra, other_dec = (rng.uniform(0, 60, 50) for _ in range(4))
    sky, other = (SkyCoord(a * units.deg, d * units.deg) for a, d in ((ra, dec), (other_ra, other_dec)))
    assert np.allclose(separation(ra, dec, other_ra, other_dec), sky.separation(other).arcsec)


def test_the_split_holds_out_the_fraction_and_is_stable():
    names = [f"J{i}" for i in range(20_000)]
    held_out = is_validation(names, 0.15)
    assert held_out.mean() == pytest.approx(0.15, abs=0.01)
    assert np.array_equal(is_validation(names[::-1], 0.15)[::-1], held_out)
    # A larger fraction moves no source back to the training side.
    assert np.all(is_validation(names, 0.3)[held_out])
