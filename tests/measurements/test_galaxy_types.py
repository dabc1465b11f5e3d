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
from distspec.measurements.galaxy_type_rules import GALAXY_TYPE_RULES
from distspec.measurements.galaxy_types import MEASUREMENT_LABELS, UNKNOWN, suggest_galaxy_types
from distspec.measurements.standard_sets import NIRSPEC_PRISM_MEASUREMENTS
from distspec.pipeline.recipes import RECIPES
from distspec.preprocessing.rest_frame import preprocess
from tests.helpers.galaxies import GRID, WAVE, galaxy, line, noisy, spectra

LINES = {"Hα": 300.0, "Hβ": 50.0, "[O III] 5007": 200.0, "[O III] 4959": 67.0}
EXAMPLES = {
    "LRD": galaxy({"Hα": 800.0, "Hβ": 80.0}, -1.5, 1.0, km_s=2500.0),
    "AGN": galaxy(LINES | {"Hα": 600.0}, km_s=4000.0),
    "quenched": galaxy({}, -1.0, -1.2, jump=2.5),
    "EELG": galaxy({"Hα": 1000.0, "Hβ": 200.0, "[O III] 5007": 1400.0, "[O III] 4959": 470.0}),
    "LAE": galaxy(LINES | {"Lyα": 100.0}, -2.2),
    "high-z analog": galaxy(LINES, -3.0, -2.5),
    "star-forming": galaxy(LINES),
    "artefact": galaxy(LINES) - 2.0 * ((WAVE > 2400.0) & (WAVE < 3700.0)) * galaxy({}),
    UNKNOWN: galaxy({"Hα": 10.0, "Hβ": 2.0}),
}
REQUIRED_RANGES = {  # rest-frame range that a rule needs [Angstrom]
    "LRD": (3900.0, 6300.0),
    "quenched": (3300.0, 4300.0),
    "EELG": (4850.0, 6700.0),
    "LAE": (1100.0, 1300.0),
    "high-z analog": (1300.0, 3650.0),
    "star-forming": (4700.0, 6700.0),
}


def suggest(some):
    values = NIRSPEC_PRISM_MEASUREMENTS.measure(*some)
    return suggest_galaxy_types(GALAXY_TYPE_RULES, values, len(some.z))


def mask(some, low, high):
    return some._replace(ivar=np.where((low < WAVE) & (high > WAVE), 0.0, some.ivar).astype(np.float32))


@pytest.mark.parametrize("galaxy_type", EXAMPLES)
def test_a_galaxy_for_which_a_rule_holds_by_construction_gets_its_type(galaxy_type):
    suggestion = suggest(spectra(EXAMPLES[galaxy_type], 20.0))
    assert suggestion.galaxy_type == [galaxy_type]
    assert 0.9 < suggestion.confidence[0] <= 1.0
    rule = next((rule for rule in GALAXY_TYPE_RULES if rule.galaxy_type == galaxy_type), None)
    expected = "no rule holds; most probable" if rule is None else rule.description
    assert expected in suggestion.reason[0]


def test_every_rule_has_an_example():
    assert set(EXAMPLES) == {UNKNOWN, *(rule.galaxy_type for rule in GALAXY_TYPE_RULES)}


@pytest.mark.parametrize("galaxy_type", REQUIRED_RANGES)
def test_a_rule_that_is_not_covered_is_neither_suggested_nor_excluded(galaxy_type):
    some = spectra(EXAMPLES[galaxy_type], 20.0)
    whole, part = suggest(some), suggest(mask(some, *REQUIRED_RANGES[galaxy_type]))
    assert galaxy_type not in part.galaxy_type
    assert part.confidence[0] < whole.confidence[0] - 0.1
    assert galaxy_type in part.reason[0]
    assert "not covered" in part.reason[0]


def test_reasons_give_the_measured_values_and_the_reference():
    reason = suggest(spectra(EXAMPLES["LRD"], 20.0)).reason[0]
    assert "β_UV −1.5 ± 0.1, β_opt 1.0 ± 0.2" in reason
    assert "intrinsic FWHM(Hα) 2" in reason
    assert "Hviding+25" in reason
    assert "also" not in suggest(spectra(EXAMPLES["star-forming"])).reason[0]
    assert "EW(Hα) from Hβ" in suggest(spectra(galaxy(LINES, z=8.5), 20.0, 8.5)).reason[0]
    all_three = galaxy({"Hα": 1200.0, "Hβ": 80.0, "Lyα": 150.0}, -1.5, 1.0)
    assert "also EELG 1.00, LAE 1.00" in suggest(spectra(all_three)).reason[0]


@pytest.mark.parametrize("z", [4.7, 5.5, 6.5])
@pytest.mark.parametrize("nii_ratio", [0.0, 0.3, 1.0])
def test_nitrogen_lines_do_not_make_a_narrow_halpha_broad(z, nii_ratio):
    flux = galaxy(LINES, z=z, km_s=200.0)
    level = np.interp(6564.6, WAVE, galaxy({}, z=z))
    for wave, share in ((6549.86, 0.253), (6585.27, 0.747)):
        flux += LINES["Hα"] * nii_ratio * share * level * line(wave, z)
    some = noisy(spectra(np.tile(flux, (50, 1)), 20.0, z))
    assert set(suggest(some).galaxy_type) == {"star-forming"}
    fwhm = NIRSPEC_PRISM_MEASUREMENTS.measure(*some)["halpha_fwhm"]
    assert np.isfinite(fwhm).all()
    assert np.median(fwhm) < 1600.0


def test_an_active_nucleus_is_known_by_neon_too():
    flux = galaxy(LINES)
    flux += 20.0 * np.interp(3426.84, WAVE, flux) * line(3426.84, 6.0)
    suggestion = suggest(spectra(flux, 30.0))
    assert suggestion.galaxy_type == ["AGN"]
    assert "EW([Ne V]) 19" in suggestion.reason[0]


def test_noise_lowers_the_confidence():
    confidence = [suggest(spectra(EXAMPLES["LRD"], snr)).confidence[0] for snr in (20.0, 1.0, 0.3)]
    assert confidence == sorted(confidence, reverse=True)
    assert confidence[-1] < 0.95
    faint = suggest(noisy(spectra(np.tile(EXAMPLES["LRD"], (200, 1)), 0.02)))
    assert faint.galaxy_type.count("LRD") < 60
    assert np.median(faint.confidence) < 0.5


@settings(max_examples=20)
@given(log_scale=st.floats(-5.0, 5.0), seed=st.integers(0, 99))
def test_flux_scale_and_other_rows_do_not_matter(log_scale, seed):
    some = noisy(spectra(np.array(list(EXAMPLES.values())), 3.0), seed)
    whole = suggest(some)
    scale = 10.0**log_scale
    scaled = suggest(some._replace(flux=np.float32(some.flux * scale), ivar=np.float32(some.ivar / scale**2)))
    assert np.allclose(scaled.confidence, whole.confidence, atol=1e-3)
    alone = suggest(type(some)(some.flux[2:3], some.ivar[2:3], some.z[2:3], GRID))
    assert (alone.galaxy_type[0], alone.confidence[0], alone.reason[0]) == tuple(part[2] for part in whole)


def test_every_measurement_of_a_rule_has_a_label_and_is_measured():
    names = {column.name for column in NIRSPEC_PRISM_MEASUREMENTS.columns}
    for rule in GALAXY_TYPE_RULES:
        for name in (*rule.measurements, *rule.extra_measurements):
            assert name in MEASUREMENT_LABELS
            assert name == "balmer_ew" or {name, f"{name}_err"} <= names


def test_an_archive_without_rules_suggests_unknown():
    suggestion = suggest_galaxy_types((), {}, 3)
    assert suggestion.galaxy_type == [UNKNOWN] * 3
    assert np.isnan(suggestion.confidence).all()
    assert set(suggestion.reason) == {"the archive has no galaxy type rules"}


def test_no_spectra_give_no_suggestions():
    values = {column.name: np.zeros(0, np.float32) for column in NIRSPEC_PRISM_MEASUREMENTS.columns}
    assert suggest_galaxy_types(GALAXY_TYPE_RULES, values, 0).galaxy_type == []


def test_published_little_red_dots_are_found_among_real_files(dja_files):
    config, table = RECIPES["dja"]("unused"), dja_files / "catalog.csv"
    archive = replace(config.archive, url=str(dja_files), catalog=str(table))
    results = read_archive_spectra(archive, DEFAULT_ACCESS, listing_to_entries(archive.list_spectra()))
    valid = [result for result in results if isinstance(result, Spectrum)]
    grid = config.grid.resolve(np.array([5.0]))
    batch, _ = preprocess(valid, grid, config.norm, config.norm.fallback_slope)
    values = NIRSPEC_PRISM_MEASUREMENTS.measure(batch.flux, batch.ivar, batch.z, GRID)
    suggestion = suggest_galaxy_types(GALAXY_TYPE_RULES, values, len(batch))
    with table.open() as file:
        known = {row["file"]: row["known_class"] == "LRD" for row in csv.DictReader(file)}
    published = np.array([known[name] for name in batch.object_id])
    is_lrd = np.array(suggestion.galaxy_type) == "LRD"
    assert published.sum() == 52, "one file has no flux that normalizes it"
    assert is_lrd[published].sum() >= 45
    assert not is_lrd[~published].any()
