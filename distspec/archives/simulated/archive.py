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

from distspec.archives.simulated.galaxies import brown_dwarf, continuum, emission_lines, transmission
from distspec.archives.simulated.nirspec import (
    ARTEFACTS,
    FINE_WAVE,
    N_PIXELS,
    WAVE,
    Exposure,
    expose,
    noise_level,
    observe_continuum,
    observe_lines,
)
from distspec.archives.simulated.populations import DRAWN, UNITS, Galaxies, draw
from distspec.archives.simulated.survey import ODDITIES, SyntheticConfig, plan
from distspec.core.spectrum import Floats
from distspec.io.files import put, put_table
from distspec.io.paths import join
from distspec.io.storage import filesystem

__all__ = ["ODDITIES", "SyntheticConfig", "plan", "simulate", "write_shard", "write_tables"]
VERSION = "0.9.5+synthetic"
_COSMOLOGY: Any = Planck18  # astropy gives it no usable type
_GALAXY, _TWIN, _BLEND, _FILE = 1, 2, 3, 4  # independent streams of random numbers
_BLOCK = 128  # spectra simulated together: vectorised, yet small enough for the cache
_COLUMNS = {
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
_ROW = np.dtype([(name, ">f8") for name in _COLUMNS])
_COMMENTS = {
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
_SLIT_ROWS = 31


def write_shard(config: SyntheticConfig, url: str, start: int, stop: int) -> None:
    """Write files ``start`` to ``stop`` (exclusive) of the plan into the folder `url`."""
    fs, folder = filesystem(url)
    fs.makedirs(folder, exist_ok=True)
    shard = plan(config).slice(start, stop - start)
    for first in range(0, len(shard), _BLOCK):
        rows: list[dict[str, Any]] = shard.slice(first, _BLOCK).to_pylist()
        for row, flux in zip(rows, noise_free(config, rows), strict=True):
            artefact = row["anomaly_type"] if row["anomaly_type"] in ARTEFACTS else ""
            rng = np.random.default_rng([config.seed, _FILE, row["index"]])
            exposure = expose(flux, row["exptime"], artefact, rng)
            fs.pipe_file(f"{folder}/{row['file']}", _to_fits(row, exposure, config.images, rng))


def write_tables(config: SyntheticConfig, url: str) -> None:
    """Write ``catalog.csv``, which the pipeline reads, and ``truth.parquet``, which it must not."""
    table = plan(config)
    blocks: list[pa.Table] = []
    sn50: list[Floats] = []
    for first in range(0, len(table), 32 * _BLOCK):
        rows: list[dict[str, Any]] = table.slice(first, 32 * _BLOCK).to_pylist()
        galaxies = galaxies_of(config, rows)
        blocks.append(pa.table(asdict(galaxies)))
        sn50.append(_nominal_snr(galaxies, rows))
    catalog = io.BytesIO()  # Arrow's buffers are none that an object store's files take
    options = pyarrow.csv.WriteOptions(quoting_style="needed")
    pyarrow.csv.write_csv(_catalog(table, np.concatenate(sn50)), catalog, options)
    put(join(url, "catalog.csv"), catalog.getvalue())
    put_table(join(url, "truth.parquet"), _truth(table, pa.concat_tables(blocks)))


def _catalog(table: pa.Table, sn50: Floats) -> pa.Table:
    n = len(table)
    columns = {name: table[name] for name in ("file", "srcid", "ra", "dec")}
    columns |= {"grating": ["PRISM"] * n, "filter": ["CLEAR"] * n}
    columns |= {"root": table["root"], "exptime": table["exptime"], "sn50": np.round(sn50, 3)}
    columns |= {"wmin": np.full(n, 0.5491), "wmax": np.full(n, 5.5018)}
    columns |= {"ctime": [_created(i) for i in range(n)], "version": [VERSION] * n}
    columns |= {"z_best": table["z"], "grade": table["grade"], "objid": table["source"]}
    return pa.table(columns)


def _truth(table: pa.Table, parameters: pa.Table) -> pa.Table:
    columns = {
        "object_id": table["file"],
        **{name: table[name] for name in ("truth_class", "anomaly_type", "z_true", "twin_id")},
        **{name: table[name] for name in ("source", "population")},
        **{name: parameters[name] for name in parameters.column_names},
    }
    schema = [
        pa.field(name, column.type, metadata={"unit": UNITS[name]} if name in UNITS else None)
        for name, column in columns.items()
    ]
    return pa.table(list(columns.values()), schema=pa.schema(schema))


def simulate(galaxies: Galaxies, z: Floats) -> Floats:
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
    wave_obs = FINE_WAVE * 1e4
    light = _continuum_fnu(galaxies, z, wave_obs / (1.0 + z[:, None]))
    lines = emission_lines(galaxies)
    flux = observe_continuum(light * transmission(galaxies, z, wave_obs))
    return flux + observe_lines(lines, _continuum_fnu(galaxies, z, lines.wave_rest), z)


def _continuum_fnu(galaxies: Galaxies, z: Floats, wave_rest: Floats) -> Floats:
    """Return f_ν [uJy] at rest wavelengths (N, M) [Å], before intergalactic absorption."""
    distance = _COSMOLOGY.luminosity_distance(z).to_value("pc") / 10.0
    at_4200 = (1.0 + z) * 10.0 ** (-0.4 * (galaxies.m_blue - 23.9)) / distance**2
    return at_4200[:, None] * continuum(galaxies, wave_rest) * (wave_rest / 4200.0) ** 2


def galaxies_of(config: SyntheticConfig, rows: Sequence[dict[str, Any]]) -> Galaxies:
    """Draw each row's galaxy; the same source, and the same twin, gives the same one."""
    keys = [(_GALAXY, row["source"]) if row["twin_id"] < 0 else (_TWIN, row["twin_id"]) for row in rows]
    normals = np.array([_normals(config.seed, *key) for key in keys])
    galaxies = draw([row["population"] for row in rows], normals)
    unknown = np.array([row["anomaly_type"] == "unknown_line" for row in rows])
    # Between the lines everyone knows: rest 2050-2650, 3000-3600 or 5100-5800 Å.
    start = np.array([2050.0, 3000.0, 5100.0])[[row["source"] % 3 for row in rows]]
    return replace(
        galaxies,
        ew_unknown=np.where(unknown, 10.0 ** (2.5 + 0.2 * normals[:, 0]), 0.0),
        wave_unknown=np.where(unknown, start + 600.0 * (np.abs(normals[:, 1]) % 1.0), 5000.0),
    )


def _normals(seed: int, stream: int, number: int) -> Floats:
    return np.random.default_rng([seed, stream, number]).standard_normal(len(DRAWN))


def noise_free(config: SyntheticConfig, rows: Sequence[dict[str, Any]]) -> Floats:
    """Return what the detector would show of each row without noise, (N, 473) [uJy]."""
    # A dwarf is at z = 0, where no galaxy is simulated; its row is replaced below.
    z = np.array([row["z_true"] or 1.0 for row in rows])
    flux = simulate(galaxies_of(config, rows), z)
    for i, row in enumerate(rows):
        if row["anomaly_type"] == "brown_dwarf":
            brightness = 10.0 ** (-0.4 + 0.3 * _normals(config.seed, _GALAXY, row["source"])[0])
            flux[i] = observe_continuum(brightness * brown_dwarf(FINE_WAVE)[None, :])[0]
        elif row["anomaly_type"] == "blend":
            normals = _normals(config.seed, _BLEND, row["source"])
            nearer = np.array([0.5 + (z[i] - 1.0) * (np.abs(normals[0]) % 1.0)])
            other = simulate(draw(["star_forming"], normals[None, :]), nearer)[0]
            flux[i] += other * np.median(flux[i]) / np.median(other)
    return flux


def _nominal_snr(galaxies: Galaxies, rows: Sequence[dict[str, Any]]) -> Floats:
    """Return the continuum's median S/N a pixel over ten wavelengths, (N,)."""
    z = np.array([row["z_true"] or 1.0 for row in rows])
    wave = np.linspace(0.8, 5.2, 10)
    flux = _continuum_fnu(galaxies, z, wave * 1e4 / (1.0 + z[:, None]))
    flux *= transmission(galaxies, z, wave * 1e4)
    err = noise_level(wave, flux, np.array([row["exptime"] for row in rows]))
    return np.median(flux / err, axis=1)


def _created(index: int) -> str:
    moment = datetime(2025, 1, 1) + timedelta(seconds=37.219 * index)
    return moment.isoformat(timespec="milliseconds")


def _to_fits(row: dict[str, Any], exposure: Exposure, images: bool, rng: np.random.Generator) -> bytes:
    """Serialise one spectrum as msaexp v4 does."""
    # astropy makes the headers, once: building a table anew is three quarters of the time.
    primary, header = _template()
    header = header.copy()
    for key, value in _cards(row).items():
        header[key] = value
    hdus = [primary, header.tostring().encode(), _padded(_spec1d(exposure).tobytes())]
    if images:
        buffer = io.BytesIO()
        fits.HDUList([fits.PrimaryHDU(), *_images(exposure, rng)]).writeto(buffer)
        hdus.append(buffer.getvalue()[len(primary) :])
    return b"".join(hdus)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 2880)  # FITS blocks


@cache
def _template() -> tuple[bytes, fits.Header]:
    """Return a file's primary HDU and the header of its table, without the values of its own."""
    table = fits.BinTableHDU(np.zeros(N_PIXELS, _ROW), name="SPEC1D")
    for i, unit in enumerate(_COLUMNS.values(), start=1):
        if unit:
            table.header.set(f"TUNIT{i}", unit, after=f"TFORM{i}")
    for key, comment in _COMMENTS.items():
        table.header[key] = ("", comment)
    return fits.PrimaryHDU().header.tostring().encode(), table.header


def _cards(row: dict[str, Any]) -> dict[str, str | float]:
    return {
        "VERSION": VERSION,
        "DATE": _created(row["index"]),
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


def _spec1d(exposure: Exposure) -> np.ndarray[Any, np.dtype[np.void]]:
    """Build the table. Only wave, flux and err matter; the rest is filled in consistently."""
    table = np.zeros(N_PIXELS, _ROW)
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


def _images(exposure: Exposure, rng: np.random.Generator) -> list[Any]:
    """Spread the spectrum over the slit: SCI [uJy] and its weight, (31, 473)."""
    rows = np.arange(_SLIT_ROWS) - _SLIT_ROWS // 2
    profile = np.exp(-0.5 * (rows / 1.2) ** 2)
    profile /= profile.sum()
    err = np.broadcast_to(exposure.err * np.sqrt(np.sum(profile**2)), (_SLIT_ROWS, N_PIXELS))
    image = profile[:, None] * exposure.flux + err * rng.standard_normal(err.shape)
    return [fits.ImageHDU(image, name="SCI"), fits.ImageHDU(1.0 / err**2, name="WHT")]
