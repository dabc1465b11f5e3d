"""Every rule on a galaxy for which it holds by construction, without its windows, and on real spectra."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.core.spectrum import Spectrum
from distspec.ingest.read import listing_to_entries, read_archive_spectra
from distspec.io.remote.config import DEFAULT_ACCESS
from distspec.measurements.galaxy_types import (
    GALAXY_TYPE_RULES,
    GALAXY_TYPES,
    MEASUREMENT_LABELS,
    UNKNOWN,
    suggest_galaxy_types,
)
from distspec.measurements.measure import list_measurement_columns, measure_spectra
from distspec.pipeline.recipes import RECIPES
from distspec.preprocessing.rest_frame import preprocess
from tests.helpers.galaxies import GRID, WAVE, galaxy, noisy, spectra

ORDINARY = {"Hα": 300.0, "Hβ": 50.0, "[O III] 5007": 200.0, "[O III] 4959": 67.0}
MADE = {
    "LRD": galaxy({"Hα": 800.0, "Hβ": 80.0}, -1.5, 1.0, km_s=2500.0),
    "quenched": galaxy({}, -1.0, -1.2, jump=2.5),
    "EELG": galaxy({"Hα": 1000.0, "Hβ": 200.0, "[O III] 5007": 1400.0, "[O III] 4959": 470.0}),
    "LAE": galaxy(ORDINARY | {"Lyα": 100.0}, -2.2),
    "high-z analog": galaxy(ORDINARY, -3.0, -2.5),
    "star-forming": galaxy(ORDINARY),
    "artefact": galaxy(ORDINARY) - 2.0 * ((WAVE > 2400.0) & (WAVE < 3700.0)) * galaxy({}),
    UNKNOWN: galaxy({"Hα": 10.0, "Hβ": 2.0}),
}
NEEDS = {  # rest wavelengths without which a rule cannot say
    "LRD": (3900.0, 6300.0),
    "quenched": (3300.0, 4300.0),
    "EELG": (4850.0, 6700.0),
    "LAE": (1100.0, 1300.0),
    "high-z analog": (1300.0, 3650.0),
    "star-forming": (4700.0, 6700.0),
}


def said(some):
    return suggest_galaxy_types("dja", measure_spectra("dja", *some), len(some.z))


def without(some, low, high):
    return some._replace(ivar=np.where((low < WAVE) & (high > WAVE), 0.0, some.ivar).astype(np.float32))


@pytest.mark.parametrize("kind", GALAXY_TYPES)
def test_a_kind_is_named_where_its_rule_holds_by_construction(kind):
    found = said(spectra(MADE[kind], 20.0))
    assert found.galaxy_type == [kind]
    assert 0.9 < found.confidence[0] <= 1.0
    rule = next((rule for rule in GALAXY_TYPE_RULES if rule.galaxy_type == kind), None)
    assert "no rule holds" in found.reason[0] if rule is None else rule.description in found.reason[0]


@pytest.mark.parametrize("kind", NEEDS)
def test_not_covered_is_not_absent(kind):
    whole, part = (
        said(some) for some in (spectra(MADE[kind], 20.0), without(spectra(MADE[kind], 20.0), *NEEDS[kind]))
    )
    assert kind not in part.galaxy_type, "nothing is claimed of what is not seen"
    assert part.confidence[0] < whole.confidence[0] - 0.1, "nor is it denied"
    assert kind in part.reason[0]
    assert "not covered" in part.reason[0]


def test_reasons_say_what_was_measured():
    why = said(spectra(MADE["LRD"], 20.0)).reason[0]
    assert "β_UV −1.5 ± 0.1, β_opt 1.0 ± 0.2" in why
    assert "Hα broader than the instrument by 2" in why
    assert "Hviding+25" in why
    assert "also" not in said(spectra(MADE["star-forming"])).reason[0]
    both = galaxy({"Hα": 1200.0, "Hβ": 80.0, "Lyα": 150.0}, -1.5, 1.0)
    assert "EW(Hα) by Hβ" in said(spectra(galaxy(ORDINARY, z=8.5), 20.0, 8.5)).reason[0]
    assert "also EELG 1.00, LAE 1.00" in said(spectra(both)).reason[0]


def test_noise_takes_confidence_away():
    confidence = [said(spectra(MADE["LRD"], snr)).confidence[0] for snr in (20.0, 1.0, 0.3)]
    assert confidence == sorted(confidence, reverse=True)
    assert confidence[-1] < 0.95
    faint = said(noisy(spectra(np.tile(MADE["LRD"], (200, 1)), 0.02)))
    assert faint.galaxy_type.count("LRD") < 60
    assert np.median(faint.confidence) < 0.5


@settings(max_examples=20, deadline=None)
@given(log_scale=st.floats(-5.0, 5.0), seed=st.integers(0, 99))
def test_brightness_and_neighbours_do_not_matter(log_scale, seed):
    some = noisy(spectra(np.array(list(MADE.values())), 3.0), seed)
    whole = said(some)
    by = 10.0**log_scale
    scaled = said(some._replace(flux=np.float32(some.flux * by), ivar=np.float32(some.ivar / by**2)))
    assert np.allclose(scaled.confidence, whole.confidence, atol=1e-3)
    alone = said(type(some)(some.flux[2:3], some.ivar[2:3], some.z[2:3], GRID))
    assert (alone.galaxy_type[0], alone.confidence[0], alone.reason[0]) == tuple(part[2] for part in whole)


def test_every_measure_of_a_rule_has_words_and_is_measured():
    names = {column.name for column in list_measurement_columns("dja")}
    for rule in GALAXY_TYPE_RULES:
        for name in (*rule.measurements, *rule.extra_measurements):
            assert name in MEASUREMENT_LABELS
            assert name == "balmer_ew" or {name, f"{name}_err"} <= names


def test_archives_without_rules_are_told_so():
    found = suggest_galaxy_types("sdss", {}, 3)
    assert found.galaxy_type == [UNKNOWN] * 3
    assert np.isnan(found.confidence).all()
    assert set(found.reason) == {"no rules for archives of kind sdss"}
    assert (
        suggest_galaxy_types(
            "dja",
            {name: np.zeros(0, np.float32) for name in (c.name for c in list_measurement_columns("dja"))},
            0,
        ).galaxy_type
        == []
    )


def test_published_little_red_dots_are_found_among_real_files(dja_files):
    config, table = RECIPES["dja"]("unused"), dja_files / "catalog.csv"
    archive = replace(config.archive, url=str(dja_files), plan_catalog=str(table))
    seen = [
        s
        for s in read_archive_spectra(archive, DEFAULT_ACCESS, listing_to_entries(archive.list_spectra()))
        if isinstance(s, Spectrum)
    ]
    batch, _ = preprocess(seen, config.grid.resolve(np.array([5.0])), config.norm, config.norm.fallback_slope)
    found = suggest_galaxy_types(
        "dja", measure_spectra("dja", batch.flux, batch.ivar, batch.z, GRID), len(batch)
    )
    with table.open() as file:
        known = {row["file"]: row["known_class"] == "LRD" for row in csv.DictReader(file)}
    published = np.array([known[name] for name in batch.object_id])
    is_lrd = np.array(found.galaxy_type) == "LRD"
    assert published.sum() == 52, "one has no flux to scale it by"
    assert is_lrd[published].sum() >= 45
    assert not is_lrd[~published].any()
