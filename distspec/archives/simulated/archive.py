"""A made-up archive in the DAWN JWST Archive's own files and catalogue, any size, from a seed.

What is known of each object goes to a table of its own, never to what the pipeline reads. A file's
content depends on the seed and its own number alone, so shards of any size make the same files.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from astropy.cosmology import Planck18
from astropy.io import fits

from distspec.archives.simulated.galaxies import brown_dwarf_flux, compute_lines, continuum, igm_transmission
from distspec.archives.simulated.nirspec import (
    INSTRUMENT_DEFECTS,
    N_PIXELS,
    OVERSAMPLED_WAVE,
    WAVE,
    ObservedSpectrum,
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
from distspec.archives.simulated.survey import ANOMALY_TYPES, SyntheticConfig, plan_survey
from distspec.core.spectrum import Floats
from distspec.io.files import write_bytes, write_table
from distspec.io.paths import join_url
from distspec.io.storage import url_to_fs

__all__ = [
    "ANOMALY_TYPES",
    "SyntheticConfig",
    "plan_survey",
    "simulate_galaxy_flux",
    "write_catalog_and_truth",
    "write_spectra",
]
MSAEXP_VERSION = "0.9.5+synthetic"
_COSMOLOGY: Any = Planck18  # astropy gives it no usable type
_GALAXY_STREAM, _TWIN_STREAM, _BLEND_STREAM, _FILE_STREAM = (
    1,
    2,
    3,
    4,
)  # independent streams of random numbers
_BLOCK_SIZE = 128  # spectra simulated together: vectorised, yet small enough for the cache
_SPEC1D_UNITS = {
    "wave": "um",
    "flux": "uJy",
    "err": "uJy",
    "sky": "uJy",
    "path_corr": "",
    "npix": "",
    "flux_sum": "",
    "profile_sum": "",
    "var_sum": "",
}
_SPEC1D_DTYPE = np.dtype([(name, ">f8") for name in _SPEC1D_UNITS])
_HEADER_COMMENTS = {
    "VERSION": "msaexp software version",
    "DATE": "UTC date file created",
    "CAL_VER": "Calibration Software Version",
    "PROGRAM": "Program number",
    "FILTER": "Name of the filter element used",
    "GRATING": "Name of the grating element used",
    "EXPTIME": "[s]",
    "NCOMBINE": "Exposures combined",
    "SRCNAME": "Source name",
    "SOURCEID": "Source ID",
    "SRCRA": "Right Ascension of the source",
    "SRCDEC": "Declination of the source",
    "CRDS_CTX": "CRDS context (.pmap) used to select ref files",
}
_N_SLIT_ROWS = 31


def write_spectra(config: SyntheticConfig, url: str, start: int, stop: int) -> None:
    """Write files ``start`` to ``stop`` (exclusive) of the plan into the folder `url`."""
    fs, folder = url_to_fs(url)
    fs.makedirs(folder, exist_ok=True)
    shard = plan_survey(config).slice(start, stop - start)
    for first in range(0, len(shard), _BLOCK_SIZE):
        rows: list[dict[str, Any]] = shard.slice(first, _BLOCK_SIZE).to_pylist()
        for row, flux in zip(rows, simulate_survey_flux(config, rows), strict=True):
            artefact = row["anomaly_type"] if row["anomaly_type"] in INSTRUMENT_DEFECTS else ""
            rng = np.random.default_rng([config.seed, _FILE_STREAM, row["index"]])
            exposure = add_noise_and_defects(flux, row["exptime"], artefact, rng)
            fs.pipe_file(f"{folder}/{row['file']}", _to_fits(row, exposure, config.write_2d_spectra, rng))


def write_catalog_and_truth(config: SyntheticConfig, url: str) -> None:
    """Write ``catalog.csv``, which the pipeline reads, and ``truth.parquet``, which it must not."""
    table = plan_survey(config)
    blocks: list[pa.Table] = []
    sn50: list[Floats] = []
    for first in range(0, len(table), 32 * _BLOCK_SIZE):
        rows: list[dict[str, Any]] = table.slice(first, 32 * _BLOCK_SIZE).to_pylist()
        galaxies = draw_survey_galaxies(config, rows)
        blocks.append(pa.table(asdict(galaxies)))
        sn50.append(_compute_nominal_snr(galaxies, rows))
    catalog = io.BytesIO()  # Arrow's buffers are none that an object store's files take
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
    columns |= {"ctime": [_format_creation_time(i) for i in range(n)], "version": [MSAEXP_VERSION] * n}
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
    """Return what the detector would show of galaxies without noise.

    Parameters
    ----------
    galaxies : N galaxies
    z : (N,)

    Returns
    -------
    (N, 473) [uJy]
        At `distspec.archives.simulated.nirspec.WAVE`.
    """
    wave_obs = OVERSAMPLED_WAVE * 1e4
    light = _compute_continuum_fnu(galaxies, z, wave_obs / (1.0 + z[:, None]))
    lines = compute_lines(galaxies)
    flux = observe_continuum(light * igm_transmission(galaxies, z, wave_obs))
    return flux + observe_lines(lines, _compute_continuum_fnu(galaxies, z, lines.wave_rest), z)


def _compute_continuum_fnu(galaxies: GalaxyParameters, z: Floats, wave_rest: Floats) -> Floats:
    """Return f_ν [uJy] at rest wavelengths (N, M) [Å], before intergalactic absorption."""
    distance = _COSMOLOGY.luminosity_distance(z).to_value("pc") / 10.0
    at_4200 = (1.0 + z) * 10.0 ** (-0.4 * (galaxies.abs_mag_4200 - 23.9)) / distance**2
    return at_4200[:, None] * continuum(galaxies, wave_rest) * (wave_rest / 4200.0) ** 2


def draw_survey_galaxies(config: SyntheticConfig, rows: Sequence[dict[str, Any]]) -> GalaxyParameters:
    """Draw each row's galaxy; the same source, and the same twin, gives the same one."""
    keys = [
        (_GALAXY_STREAM, row["source"]) if row["twin_id"] < 0 else (_TWIN_STREAM, row["twin_id"])
        for row in rows
    ]
    normals = np.array([_draw_normals(config.seed, *key) for key in keys])
    galaxies = draw_galaxies([row["population"] for row in rows], normals)
    unknown = np.array([row["anomaly_type"] == "unknown_line" for row in rows])
    # Between the lines everyone knows: rest 2050-2650, 3000-3600 or 5100-5800 Å.
    start = np.array([2050.0, 3000.0, 5100.0])[[row["source"] % 3 for row in rows]]
    return replace(
        galaxies,
        ew_unknown_line=np.where(unknown, 10.0 ** (2.5 + 0.2 * normals[:, 0]), 0.0),
        wave_unknown_line=np.where(unknown, start + 600.0 * (np.abs(normals[:, 1]) % 1.0), 5000.0),
    )


def _draw_normals(seed: int, stream: int, index: int) -> Floats:
    return np.random.default_rng([seed, stream, index]).standard_normal(len(DRAWN_PARAMETERS))


def simulate_survey_flux(config: SyntheticConfig, rows: Sequence[dict[str, Any]]) -> Floats:
    """Return what the detector would show of each row without noise, (N, 473) [uJy]."""
    # A dwarf is at z = 0, where no galaxy is simulated; its row is replaced below.
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
    """Return the continuum's median S/N a pixel over ten wavelengths, (N,)."""
    z = np.array([row["z_true"] or 1.0 for row in rows])
    wave = np.linspace(0.8, 5.2, 10)
    flux = _compute_continuum_fnu(galaxies, z, wave * 1e4 / (1.0 + z[:, None]))
    flux *= igm_transmission(galaxies, z, wave * 1e4)
    err = noise_level(wave, flux, np.array([row["exptime"] for row in rows]))
    return np.median(flux / err, axis=1)


def _format_creation_time(index: int) -> str:
    moment = datetime(2025, 1, 1) + timedelta(seconds=37.219 * index)
    return moment.isoformat(timespec="milliseconds")


def _to_fits(
    row: dict[str, Any], exposure: ObservedSpectrum, images: bool, rng: np.random.Generator
) -> bytes:
    """Serialise one spectrum as msaexp v4 does."""
    # astropy makes the headers, once: building a table anew is three quarters of the time.
    primary, header = _build_header_template()
    header = header.copy()
    for key, value in _build_header_values(row).items():
        header[key] = value
    hdus = [primary, header.tostring().encode(), _pad_to_fits_block(_build_spec1d(exposure).tobytes())]
    if images:
        buffer = io.BytesIO()
        fits.HDUList([fits.PrimaryHDU(), *_build_2d_images(exposure, rng)]).writeto(buffer)
        hdus.append(buffer.getvalue()[len(primary) :])
    return b"".join(hdus)


def _pad_to_fits_block(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 2880)  # FITS blocks


@cache
def _build_header_template() -> tuple[bytes, fits.Header]:
    """Return a file's primary HDU and the header of its table, without the values of its own."""
    table = fits.BinTableHDU(np.zeros(N_PIXELS, _SPEC1D_DTYPE), name="SPEC1D")
    for i, unit in enumerate(_SPEC1D_UNITS.values(), start=1):
        if unit:
            table.header.set(f"TUNIT{i}", unit, after=f"TFORM{i}")
    for key, comment in _HEADER_COMMENTS.items():
        table.header[key] = ("", comment)
    return fits.PrimaryHDU().header.tostring().encode(), table.header


def _build_header_values(row: dict[str, Any]) -> dict[str, str | float]:
    return {
        "VERSION": MSAEXP_VERSION,
        "DATE": _format_creation_time(row["index"]),
        "CAL_VER": "synthetic",
        "PROGRAM": f"{row['program']:0>5}",
        "FILTER": "CLEAR",
        "GRATING": "PRISM",
        "EXPTIME": row["exptime"],
        "NCOMBINE": max(1, round(row["exptime"] / 948.0)),
        "SRCNAME": f"{row['program']}_{row['srcid']}",
        "SOURCEID": int(row["srcid"]),
        "SRCRA": row["ra"],
        "SRCDEC": row["dec"],
        "CRDS_CTX": "synthetic",
    }


def _build_spec1d(exposure: ObservedSpectrum) -> np.ndarray[Any, np.dtype[np.void]]:
    """Build the table. Only wave, flux and err matter; the rest is filled in consistently."""
    table = np.zeros(N_PIXELS, _SPEC1D_DTYPE)
    valid = np.isfinite(exposure.flux)
    weight, path = 15.0, 1.23
    table["wave"], table["flux"], table["err"] = WAVE, exposure.flux, exposure.err
    table["sky"] = np.where(valid, 0.0, np.nan)
    table["path_corr"] = np.where(valid, path, np.nan)
    table["npix"] = np.where(valid, 90.0, 0.0)
    table["profile_sum"] = np.where(valid, weight, 0.0)
    table["flux_sum"] = np.where(valid, exposure.flux * weight / path, 0.0)
    table["var_sum"] = np.where(valid, (exposure.err * weight / path) ** 2, 0.0)
    return table


def _build_2d_images(exposure: ObservedSpectrum, rng: np.random.Generator) -> list[Any]:
    """Spread the spectrum over the slit: SCI [uJy] and its weight, (31, 473)."""
    rows = np.arange(_N_SLIT_ROWS) - _N_SLIT_ROWS // 2
    profile = np.exp(-0.5 * (rows / 1.2) ** 2)
    profile /= profile.sum()
    err = np.broadcast_to(exposure.err * np.sqrt(np.sum(profile**2)), (_N_SLIT_ROWS, N_PIXELS))
    image = profile[:, None] * exposure.flux + err * rng.standard_normal(err.shape)
    return [fits.ImageHDU(image, name="SCI"), fits.ImageHDU(1.0 / err**2, name="WHT")]
