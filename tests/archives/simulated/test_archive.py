import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
from astropy.io import fits

from distspec.archives.base import SpectrumEntry
from distspec.archives.dja import DJA
from distspec.archives.simulated import nirspec
from distspec.archives.simulated.archive import simulate_galaxy_flux, write_catalog_and_truth, write_spectra
from distspec.archives.simulated.galaxies import compute_lines, igm_transmission
from distspec.archives.simulated.populations import CLASS_COUNTS, DRAWN_PARAMETERS, POPULATIONS, draw_galaxies
from distspec.archives.simulated.survey import ANOMALY_TYPES, SimulationConfig, plan_survey
from distspec.core.errors import ConfigError
from distspec.core.lines import GALAXY_LINES
from tests.conftest import read_spectrum

REAL = Path(os.environ.get("DISTSPEC_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))
CARDS = """SRCNAME SOURCEID SRCRA SRCDEC PROGRAM GRATING FILTER EXPTIME NCOMBINE DATE VERSION
    CAL_VER CRDS_CTX"""


@pytest.fixture(scope="module")
def real_file():
    files = sorted((REAL / "dja").glob("*-v4_prism-clear_*.spec.fits"))
    if not files:
        pytest.skip(f"no real DJA files in {REAL}")
    return files[0]


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Return a small archive on disk: its configuration and folder."""
    config = SimulationConfig(n_spectra=240, seed=3, n_twins=4, anomaly_fraction=0.05)
    folder = tmp_path_factory.mktemp("archive")
    write_spectra(config, str(folder), 0, config.n_spectra)
    write_catalog_and_truth(config, str(folder))
    return config, folder


@pytest.fixture(scope="module")
def large_plan():
    return plan_survey(SimulationConfig(n_spectra=20_000, seed=1))


def median_galaxy(population):
    return draw_galaxies([population], np.zeros((1, len(DRAWN_PARAMETERS))))


def test_files_do_not_depend_on_the_division_among_tasks(archive, tmp_path):
    config, folder = archive
    write_spectra(config, str(tmp_path), 0, 7)
    write_spectra(config, str(tmp_path), 7, 8)
    write_spectra(config, str(tmp_path), 200, 240)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()
    assert len(list(tmp_path.iterdir())) == 48


def test_tables_are_deterministic(archive, tmp_path):
    config, folder = archive
    write_catalog_and_truth(config, str(tmp_path))
    for name in ("catalog.csv", "truth.parquet"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_seed_changes_the_archive(archive):
    config, _ = archive
    assert plan_survey(replace(config, seed=4))["z_true"] != plan_survey(config)["z_true"]


def test_larger_archive_begins_with_the_smaller_one():
    small, large = (plan_survey(SimulationConfig(n_spectra=n)) for n in (300, 500))
    assert large.slice(0, 300).equals(small)


@pytest.mark.parametrize(
    ("field", "value"),
    [("n_spectra", 0), ("seed", -1), ("repeat_fraction", 1.0), ("n_twins", -1), ("twin_redshifts", ())],
)
def test_errors_name_the_setting(field, value):
    with pytest.raises(ConfigError, match=rf"--simulation.{field.replace('_', '-')} is .*: give "):
        SimulationConfig(**{field: value})


def test_format_equals_that_of_a_real_file(archive, real_file):
    config, folder = archive
    path = folder / plan_survey(config)["file"][0].as_py()
    with fits.open(path) as simulated, fits.open(real_file) as real:
        simulated.verify("exception")
        assert [hdu.name for hdu in simulated] == [hdu.name for hdu in real][:2]
        assert simulated["SPEC1D"].columns.names == real["SPEC1D"].columns.names
        assert simulated["SPEC1D"].columns.units == real["SPEC1D"].columns.units
        assert simulated["SPEC1D"].columns.formats == real["SPEC1D"].columns.formats
        assert simulated["SPEC1D"].data.dtype == real["SPEC1D"].data.dtype
        for key in CARDS.split():
            assert type(simulated["SPEC1D"].header[key]) is type(real["SPEC1D"].header[key]), key
        np.testing.assert_allclose(simulated["SPEC1D"].data["wave"], real["SPEC1D"].data["wave"], rtol=2e-4)


def test_catalog_has_the_columns_of_the_real_one(archive, real_file):
    _, folder = archive
    simulated = pyarrow.csv.read_csv(folder / "catalog.csv")
    real = pyarrow.csv.read_csv(real_file.parent / "catalog.csv")
    assert set(simulated.column_names) == set(real.column_names) - {"known_class"}


def test_noise_is_similar_to_that_of_real_files(real_file):
    """Errors at 1e4 s agree with the real median within a factor of two, except at the edges."""
    scaled = []
    for path in sorted(real_file.parent.glob("*-v4_prism-clear_*.spec.fits"))[::4]:
        with fits.open(path) as hdus:
            exptime = hdus["SPEC1D"].header["EXPTIME"]
            scaled.append(hdus["SPEC1D"].data["err"][10:460] * np.sqrt(exptime / 1e4))
    real = np.nanmedian(scaled, axis=0)
    faint = np.full((1, nirspec.N_PIXELS), 0.02)
    simulated = nirspec.noise_level(nirspec.WAVE, faint, np.array([1e4]))[0, 10:460]
    assert np.all((simulated / real > 0.5) & (simulated / real < 2.0))


def test_images_are_added_to_the_same_table(archive, tmp_path):
    config, folder = archive
    write_spectra(replace(config, write_2d_spectra=True), str(tmp_path), 0, 1)
    name = plan_survey(config)["file"][0].as_py()
    with fits.open(tmp_path / name) as large, fits.open(folder / name) as small:
        large.verify("exception")
        assert [hdu.name for hdu in large] == ["PRIMARY", "SPEC1D", "SCI", "WHT"]
        assert large["SCI"].data.shape == large["WHT"].data.shape == (31, 473)
        assert large["SPEC1D"].data.tobytes() == small["SPEC1D"].data.tobytes()


def test_dja_archive_reads_it(archive):
    config, folder = archive
    reader = DJA(catalog=str(folder / "catalog.csv"), url=str(folder), z_min=4.0)
    listing = reader.list_spectra()
    assert 200 < len(listing) < config.n_spectra  # low grades and z < 4 are dropped
    for row in listing.slice(0, 20).to_pylist():
        entry = SpectrumEntry(row["object_id"], row["version"], row["uri"], row["ra"], row["dec"], row["z"])
        spectrum = read_spectrum(reader, entry)
        assert spectrum.wave.shape == (473,)
        assert (spectrum.ivar > 0).sum() > 250


def test_truth_is_not_in_the_files_of_the_pipeline(archive):
    _, folder = archive
    truth = pyarrow.parquet.read_table(folder / "truth.parquet")
    truth_columns = {"truth_class", "anomaly_type", "z_true", "twin_id", "population", *DRAWN_PARAMETERS}
    assert truth_columns <= set(truth.column_names)
    assert truth.schema.field("log_ew_ha").metadata == {b"unit": b"log10(Angstrom)"}
    catalog = pyarrow.csv.read_csv(folder / "catalog.csv")
    assert catalog["file"].to_pylist() == truth["object_id"].to_pylist()
    assert not truth_columns & set(catalog.column_names)
    names = {*CLASS_COUNTS, *ANOMALY_TYPES, *nirspec.INSTRUMENT_DEFECTS}
    text = (folder / "catalog.csv").read_text()
    header = fits.getheader(folder / catalog["file"][0].as_py(), "SPEC1D").tostring()
    assert not [name for name in names if name in text or name in header]
    assert "REDSHIFT" not in header


def test_class_proportions(large_plan):
    classes = Counter(large_plan["truth_class"].to_pylist())
    total = sum(classes[name] for name in CLASS_COUNTS)
    for name, count in CLASS_COUNTS.items():
        assert classes[name] / total == pytest.approx(count / 2743, rel=0.1)


def test_redshift_distribution(large_plan):
    z = large_plan["z_true"].to_numpy()
    z = z[z > 4]
    np.testing.assert_allclose(np.percentile(z, [16, 50, 84]), [4.38, 5.29, 6.87], atol=0.1)
    assert z.max() <= 14


def test_redshifts_of_classes_are_similar(large_plan):
    z, name = large_plan["z_true"].to_numpy(), np.array(large_plan["truth_class"])
    medians = [np.median(z[name == one]) for one in CLASS_COUNTS]
    assert max(medians) - min(medians) < 0.6


def test_fractions(large_plan):
    n = len(large_plan)
    times = Counter(large_plan["source"].to_pylist())
    assert np.mean([count > 1 for count in times.values()]) == pytest.approx(0.08, abs=0.01)
    anomaly_types = Counter(large_plan["anomaly_type"].to_pylist())
    assert set(anomaly_types) == {"", *ANOMALY_TYPES, *nirspec.INSTRUMENT_DEFECTS}
    assert sum(anomaly_types[k] for k in ANOMALY_TYPES) / n == pytest.approx(0.01, abs=0.003)
    assert sum(anomaly_types[k] for k in nirspec.INSTRUMENT_DEFECTS) / n == pytest.approx(0.02, abs=0.004)
    z_true, grade = large_plan["z_true"].to_numpy(), large_plan["grade"].to_numpy()
    dwarf = np.array(large_plan["anomaly_type"]) == "brown_dwarf"
    dropped = (grade < 3) | ((z_true < 4) & ~dwarf)
    assert dropped.mean() == pytest.approx(0.03, abs=0.005)


def test_repeat_is_the_same_source(large_plan):
    assert len(set(large_plan["file"].to_pylist())) == len(large_plan)
    source, index = large_plan["source"].to_numpy(), large_plan["index"].to_numpy()
    again = source != index
    ra, dec = large_plan["ra"].to_numpy(), large_plan["dec"].to_numpy()
    east = (ra - ra[source]) * np.cos(np.deg2rad(dec)) * 3600
    assert np.hypot(east, (dec - dec[source]) * 3600).max() < 0.1
    for name in ("z_true", "population"):
        values = np.array(large_plan[name])
        assert np.all(values == values[source])
    root = np.array(large_plan["root"])
    assert 0.4 < np.mean(root[again] != root[source[again]]) < 0.6


def test_sources_are_separated(large_plan):
    first = large_plan["source"].to_numpy() == large_plan["index"].to_numpy()
    ra, dec = (large_plan[name].to_numpy()[first] for name in ("ra", "dec"))
    x, y = ra * np.cos(np.deg2rad(dec)) * 3600, dec * 3600
    # Sources on a 3″ grid with 1.6″ of jitter cannot share a cell of 0.5″.
    assert len(set(zip(np.round(x * 2), np.round(y * 2), strict=True))) == first.sum()


def test_paired_galaxies_have_several_redshifts(archive):
    config, folder = archive
    truth = pyarrow.parquet.read_table(folder / "truth.parquet").to_pylist()
    twins = [row for row in truth if row["twin_id"] >= 0]
    assert len(twins) == 12
    for i in range(config.n_twins):
        group = [row for row in twins if row["twin_id"] == i]
        assert [row["z_true"] for row in group] == [4.5, 6.0, 8.0]
        assert len({row["source"] for row in group}) == 3
        assert len({tuple(row[key] for key in DRAWN_PARAMETERS) for row in group}) == 1


def test_signal_to_noise_and_defects(archive):
    config, folder = archive
    table = plan_survey(config).to_pylist()
    snr, n_missing, negative = [], [], 0
    for row in table:
        data = fits.getdata(folder / row["file"], "SPEC1D")
        valid = np.isfinite(data["flux"])
        assert np.array_equal(valid, np.isfinite(data["err"]))
        assert np.all(data["err"][valid] > 0)
        snr.append(np.median(data["flux"][valid] / data["err"][valid]))
        n_missing.append((~valid).sum())
        negative += np.any(data["flux"][valid] < 0)
    low, middle, high = np.percentile(snr, [5, 50, 95])
    assert 0.15 < low < 1.0 < middle < 2.0 < high < 12.5
    assert min(n_missing) == 5
    assert np.median(n_missing) <= 6
    assert 40 < max(n_missing) < 330
    assert negative > 200
    nominal = pyarrow.csv.read_csv(folder / "catalog.csv")["sn50"].to_numpy()
    assert abs(np.median(np.log(nominal / np.clip(snr, 0.1, None)))) < 0.4


@pytest.mark.parametrize("z", [4.0, 5.5])
def test_lines_have_their_wavelength_and_equivalent_width(z):
    galaxy = replace(median_galaxy("star_forming"), logit_broad_fraction=np.array([-30.0]))
    bright = simulate_galaxy_flux(galaxy, np.array([z]))[0]
    dark = simulate_galaxy_flux(replace(galaxy, log_ew_ha=np.array([-9.0])), np.array([z]))[0]
    wave, f_lambda = nirspec.WAVE, 1.0 / nirspec.WAVE**2
    near = np.abs(wave / (1 + z) * 1e4 - 6564.61) < 130
    excess = (bright - dark) * f_lambda
    relative = bright[near] / dark[near] - 1.0
    width = np.sum(relative * nirspec.PIXEL_WIDTH[near]) / (1 + z) * 1e4
    lines = compute_lines(galaxy)
    blended = (np.abs(lines.wave_rest - 6564.61) < 130) & (lines.ew > 0)
    assert width == pytest.approx(lines.ew[blended].sum(), rel=0.03)
    assert lines.ew[blended].max() == pytest.approx(
        10.0 ** POPULATIONS["star_forming"]["log_ew_ha"][0], rel=1e-6
    )
    center = np.sum((wave * excess)[near]) / np.sum(excess[near]) / (1 + z) * 1e4
    assert center == pytest.approx(GALAXY_LINES["Hα"], rel=2e-3)


def test_resolution_is_that_of_the_prism():
    resolution = nirspec.WAVE / (2.3548 * nirspec.LSF_SIGMA * nirspec.PIXEL_WIDTH)
    at = np.interp([0.6, 1.2, 3.0, 5.2], nirspec.WAVE, resolution)
    np.testing.assert_allclose(at, [67, 31, 106, 326], rtol=0.05)
    flat = nirspec.observe_continuum(np.ones((1, len(nirspec.OVERSAMPLED_WAVE))))
    np.testing.assert_allclose(flat, 1.0, rtol=1e-12)


def test_flux_below_lya_is_absorbed():
    galaxy, z = median_galaxy("star_forming"), np.array([5.0])
    transmission = igm_transmission(galaxy, z, np.array([880.0, 1100.0, 1180.0, 1300.0, 3000.0]) * 6)[0]
    assert transmission[0] == 0
    assert 0.05 < transmission[2] < 0.5  # about 0.2 at z = 5
    assert transmission[3] > 0.9
    assert transmission[4] > 0.999
    higher = igm_transmission(galaxy, np.array([8.0]), np.array([1180.0, 1240.0]) * 9)[0]
    assert higher[0] < 1e-2
    assert higher[1] < 0.95


def test_classes_overlap():
    """No single parameter separates a class from star-forming galaxies."""
    for name in set(CLASS_COUNTS) - {"star_forming"}:
        for key in DRAWN_PARAMETERS:
            (mean, sigma), (reference, spread) = POPULATIONS[name][key], POPULATIONS["star_forming"][key]
            assert abs(mean - reference) < 2.5 * (sigma + spread), (name, key)


def test_classes_have_their_defining_features():
    z = np.array([5.0])
    flux = {name: simulate_galaxy_flux(median_galaxy(name), z)[0] for name in CLASS_COUNTS}

    def at(name, wave_rest):
        return np.interp(wave_rest * 6e-4, nirspec.WAVE, flux[name])

    def red(name):
        return at(name, 5500) / at(name, 2000)

    assert at("quenched", 4200) / at("quenched", 3500) > 1.5  # Balmer break
    assert at("lae", 1216) > 2 * at("lae", 1300)
    assert at("eelg", 5008) > 5 * at("eelg", 5500)
    assert red("lrd") > 2.5 * red("star_forming")
    assert red("high_z_analog") < red("star_forming")
    assert 0.01 < at("star_forming", 1500) < 1
