"""A simulated archive of any size, in the file and catalog formats of the DAWN JWST Archive.

The true classes are written to a table of their own, never to anything that the pipeline reads. The content
of a file depends on the seed and the index of the file alone, so that it does not matter how files are
divided among tasks.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from astropy.cosmology import Planck18

from distspec.archives.simulated.galaxies import brown_dwarf_flux, compute_lines, continuum, igm_transmission
from distspec.archives.simulated.nirspec import (
    INSTRUMENT_DEFECTS,
    OVERSAMPLED_WAVE,
    add_noise_and_defects,
    noise_level,
    observe_continuum,
    observe_lines,
)
from distspec.archives.simulated.populations import (
    DRAWN_PARAMETERS,
    PARAMETER_UNITS,
    GalaxyParameters,
    draw_galaxies,
)
from distspec.archives.simulated.spectrum_file import (
    MSAEXP_VERSION,
    format_creation_time,
    format_spectrum_file,
)
from distspec.archives.simulated.survey import SimulationConfig, plan_survey
from distspec.core.spectrum import Floats
from distspec.io.files import write_bytes, write_table
from distspec.io.paths import join_url
from distspec.io.storage import url_to_fs

_COSMOLOGY: Any = Planck18  # astropy declares no usable type for it
# Indices of independent streams of random numbers.
_GALAXY_STREAM, _TWIN_STREAM, _BLEND_STREAM, _FILE_STREAM = 1, 2, 3, 4
_BLOCK_SIZE = 128  # spectra that are simulated together


def write_spectra(config: SimulationConfig, url: str, start: int, stop: int) -> None:
    """Write some of the spectra of a simulated survey.

    Parameters
    ----------
    config : SimulationConfig
        Contents of the survey.
    url : str
        Folder or bucket URL.
    start, stop : int
        Range of file indices, `stop` excluded.
    """
    fs, folder = url_to_fs(url)
    fs.makedirs(folder, exist_ok=True)
    shard = plan_survey(config).slice(start, stop - start)
    for first in range(0, len(shard), _BLOCK_SIZE):
        rows: list[dict[str, Any]] = shard.slice(first, _BLOCK_SIZE).to_pylist()
        for row, flux in zip(rows, simulate_survey_flux(config, rows), strict=True):
            defect = row["anomaly_type"] if row["anomaly_type"] in INSTRUMENT_DEFECTS else ""
            rng = np.random.default_rng([config.seed, _FILE_STREAM, row["index"]])
            exposure = add_noise_and_defects(flux, row["exptime"], defect, rng)
            fs.pipe_file(
                f"{folder}/{row['file']}", format_spectrum_file(row, exposure, config.write_2d_spectra, rng)
            )


def write_catalog_and_truth(config: SimulationConfig, url: str) -> None:
    """Write the catalog, ``catalog.csv``, and the true classes, ``truth.parquet``.

    Parameters
    ----------
    config : SimulationConfig
        Contents of the survey.
    url : str
        Folder or bucket URL.
    """
    table = plan_survey(config)
    blocks: list[pa.Table] = []
    sn50: list[Floats] = []
    for first in range(0, len(table), 32 * _BLOCK_SIZE):
        rows: list[dict[str, Any]] = table.slice(first, 32 * _BLOCK_SIZE).to_pylist()
        galaxies = draw_survey_galaxies(config, rows)
        blocks.append(pa.table(asdict(galaxies)))
        sn50.append(_compute_nominal_snr(galaxies, rows))
    catalog = io.BytesIO()
    options = pyarrow.csv.WriteOptions(quoting_style="needed")
    pyarrow.csv.write_csv(_build_catalog(table, np.concatenate(sn50)), catalog, options)
    write_bytes(join_url(url, "catalog.csv"), catalog.getvalue())
    write_table(join_url(url, "truth.parquet"), _build_truth(table, pa.concat_tables(blocks)))


def _build_catalog(survey: pa.Table, sn50: Floats) -> pa.Table:
    n = len(survey)
    columns = {name: survey[name] for name in ("file", "srcid", "ra", "dec")}
    columns |= {"grating": ["PRISM"] * n, "filter": ["CLEAR"] * n}
    columns |= {"root": survey["root"], "exptime": survey["exptime"], "sn50": np.round(sn50, 3)}
    columns |= {"wmin": np.full(n, 0.5491), "wmax": np.full(n, 5.5018)}
    columns |= {"ctime": [format_creation_time(i) for i in range(n)], "version": [MSAEXP_VERSION] * n}
    columns |= {"z_best": survey["z"], "grade": survey["grade"], "objid": survey["source"]}
    return pa.table(columns)


def _build_truth(survey: pa.Table, galaxies: pa.Table) -> pa.Table:
    columns = {
        "object_id": survey["file"],
        **{name: survey[name] for name in ("truth_class", "anomaly_type", "z_true", "twin_id")},
        **{name: survey[name] for name in ("source", "population")},
        **{name: galaxies[name] for name in galaxies.column_names},
    }
    schema = [
        pa.field(
            name, column.type, metadata={"unit": PARAMETER_UNITS[name]} if name in PARAMETER_UNITS else None
        )
        for name, column in columns.items()
    ]
    return pa.table(list(columns.values()), schema=pa.schema(schema))


def simulate_galaxy_flux(galaxies: GalaxyParameters, z: Floats) -> Floats:
    """Return noise-free observed spectra of galaxies.

    Parameters
    ----------
    galaxies : GalaxyParameters
        Parameters of the galaxies.
    z : ndarray of shape (n_galaxies,)
        Redshift.

    Returns
    -------
    ndarray of shape (n_galaxies, 473)
        f_ν at `distspec.archives.simulated.nirspec.WAVE` [uJy].
    """
    wave_obs = OVERSAMPLED_WAVE * 1e4
    light = _compute_continuum_fnu(galaxies, z, wave_obs / (1.0 + z[:, None]))
    lines = compute_lines(galaxies)
    flux = observe_continuum(light * igm_transmission(galaxies, z, wave_obs))
    return flux + observe_lines(lines, _compute_continuum_fnu(galaxies, z, lines.wave_rest), z)


def _compute_continuum_fnu(galaxies: GalaxyParameters, z: Floats, wave_rest: Floats) -> Floats:
    """Return f_ν [uJy] at rest wavelengths [Angstrom], before intergalactic absorption."""
    distance = _COSMOLOGY.luminosity_distance(z).to_value("pc") / 10.0
    at_4200 = (1.0 + z) * 10.0 ** (-0.4 * (galaxies.abs_mag_4200 - 23.9)) / distance**2
    return at_4200[:, None] * continuum(galaxies, wave_rest) * (wave_rest / 4200.0) ** 2


def draw_survey_galaxies(config: SimulationConfig, rows: Sequence[dict[str, Any]]) -> GalaxyParameters:
    """Draw the galaxies of a survey's files.

    Parameters
    ----------
    config : SimulationConfig
        Contents of the survey.
    rows : sequence of dict
        Rows of `plan_survey`. Files of one source, or of one twin, have the same galaxy.

    Returns
    -------
    GalaxyParameters
    """
    keys = [
        (_GALAXY_STREAM, row["source"]) if row["twin_id"] < 0 else (_TWIN_STREAM, row["twin_id"])
        for row in rows
    ]
    normals = np.array([_draw_normals(config.seed, *key) for key in keys])
    galaxies = draw_galaxies([row["population"] for row in rows], normals)
    unknown = np.array([row["anomaly_type"] == "unknown_line" for row in rows])
    # Unidentified lines lie away from known ones, at rest wavelengths 2050-2650, 3000-3600 or 5100-5700 Å.
    start = np.array([2050.0, 3000.0, 5100.0])[[row["source"] % 3 for row in rows]]
    return replace(
        galaxies,
        ew_unknown_line=np.where(unknown, 10.0 ** (2.5 + 0.2 * normals[:, 0]), 0.0),
        wave_unknown_line=np.where(unknown, start + 600.0 * (np.abs(normals[:, 1]) % 1.0), 5000.0),
    )


def _draw_normals(seed: int, stream: int, index: int) -> Floats:
    return np.random.default_rng([seed, stream, index]).standard_normal(len(DRAWN_PARAMETERS))


def simulate_survey_flux(config: SimulationConfig, rows: Sequence[dict[str, Any]]) -> Floats:
    """Return noise-free observed spectra of a survey's files.

    Parameters
    ----------
    config : SimulationConfig
        Contents of the survey.
    rows : sequence of dict
        Rows of `plan_survey`.

    Returns
    -------
    ndarray of shape (n_files, 473)
        f_ν at `distspec.archives.simulated.nirspec.WAVE` [uJy].
    """
    # Brown dwarfs are at z = 0, where galaxies cannot be simulated; their spectra are replaced below.
    z = np.array([row["z_true"] or 1.0 for row in rows])
    flux = simulate_galaxy_flux(draw_survey_galaxies(config, rows), z)
    for i, row in enumerate(rows):
        if row["anomaly_type"] == "brown_dwarf":
            brightness = 10.0 ** (-0.4 + 0.3 * _draw_normals(config.seed, _GALAXY_STREAM, row["source"])[0])
            flux[i] = observe_continuum(brightness * brown_dwarf_flux(OVERSAMPLED_WAVE)[None, :])[0]
        elif row["anomaly_type"] == "blend":
            normals = _draw_normals(config.seed, _BLEND_STREAM, row["source"])
            nearer = np.array([0.5 + (z[i] - 1.0) * (np.abs(normals[0]) % 1.0)])
            other = simulate_galaxy_flux(draw_galaxies(["star_forming"], normals[None, :]), nearer)[0]
            flux[i] += other * np.median(flux[i]) / np.median(other)
    return flux


def _compute_nominal_snr(galaxies: GalaxyParameters, rows: Sequence[dict[str, Any]]) -> Floats:
    """Return the median signal-to-noise ratio per pixel of the continuum at ten wavelengths."""
    z = np.array([row["z_true"] or 1.0 for row in rows])
    wave = np.linspace(0.8, 5.2, 10)
    flux = _compute_continuum_fnu(galaxies, z, wave * 1e4 / (1.0 + z[:, None]))
    flux *= igm_transmission(galaxies, z, wave * 1e4)
    err = noise_level(wave, flux, np.array([row["exptime"] for row in rows]))
    return np.median(flux / err, axis=1)
