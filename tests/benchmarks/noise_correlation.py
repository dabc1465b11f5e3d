"""Noise of the real DJA spectra against its errors, from sources that were observed twice.

    python -m tests.benchmarks.noise_correlation

The difference of two spectra of a source, after a cubic polynomial has scaled one to the other, contains
noise alone. Prints a Markdown table: the scatter of its means over n neighboring pixels in units of the
errors for independent pixels (68 % of the means lie within it), and the correlation of pixels at distance n.
Takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table

from distspec.archives.msaexp import find_valid_pixels, parse_spec1d
from distspec.core.spectrum import Floats
from tests.conftest import DATA

MAX_SEPARATION = 0.4
"""Largest distance of two spectra of one source [arcsec]."""
N_PIXELS = (1, 2, 4, 8, 16)
N_COEFFICIENTS, N_ITERATIONS = 4, 5
"""Coefficients of the polynomial, and iterations of its fit, whose errors depend on it."""
MAX_DEVIATION = 4.0
"""Deviations are limited to this for correlations [sigma]."""


def main() -> None:
    """Print the table."""
    pairs = [normalize_difference(*pair) for pair in find_pairs()]
    print(f"{len(pairs)} pairs\n\n| pixels | scatter of means ÷ error | correlation |\n|---:|---:|---:|")
    for n in N_PIXELS:
        scatter = np.median([measure_scatter(difference, n) for difference in pairs])
        correlation = np.median([measure_correlation(difference, n) for difference in pairs])
        print(f"| {n} | {scatter:.2f} | {correlation:.2f} |")


def find_pairs() -> Iterator[tuple[str, str]]:
    """Yield the file names of sources that were observed twice."""
    catalog = Table.read(DATA / "dja" / "catalog.csv")
    positions = SkyCoord(catalog["ra"], catalog["dec"], unit="deg")
    for i, j in combinations(range(len(catalog)), 2):
        if positions[i].separation(positions[j]).arcsec < MAX_SEPARATION:
            yield str(catalog["file"][i]), str(catalog["file"][j])


def read_spectrum(name: str) -> tuple[Floats, Floats]:
    """Return flux and error, (n_pixels,) each, NaN where invalid."""
    content = (DATA / "dja" / name).read_bytes()
    spectrum = parse_spec1d(content, len(content))
    flux, err = spectrum.flux, spectrum.err
    valid = find_valid_pixels(flux, err)
    return np.where(valid, flux, np.nan), np.where(valid, err, np.nan)


def normalize_difference(first: str, second: str) -> Floats:
    """Return the difference of two spectra, the second scaled to the first, in units of its error."""
    (flux, err), (other_flux, other_err) = read_spectrum(first), read_spectrum(second)
    polynomials = np.vander(np.linspace(-1.0, 1.0, len(flux)), N_COEFFICIENTS)
    valid, scale = np.isfinite(flux + err + other_flux + other_err), np.ones(len(flux))
    for _ in range(N_ITERATIONS):
        sigma = np.hypot(err, scale * other_err)
        model = polynomials * (other_flux / sigma)[:, None]
        scale = polynomials @ np.linalg.lstsq(model[valid], (flux / sigma)[valid])[0]
    return (flux - scale * other_flux) / np.hypot(err, scale * other_err)


def measure_scatter(difference: Floats, n: int) -> float:
    """Return half the range of the central 68 % of √n times the means over n pixels."""
    blocks = difference[: len(difference) // n * n].reshape(-1, n)
    low, high = np.nanpercentile(np.sqrt(n) * blocks.mean(axis=1), [15.87, 84.13])
    return float(0.5 * (high - low))


def measure_correlation(difference: Floats, distance: int) -> float:
    """Return the correlation of pixels at a distance."""
    clipped = np.clip(difference - np.nanmean(difference), -MAX_DEVIATION, MAX_DEVIATION)
    covariance = np.nanmean(clipped[distance:] * clipped[:-distance])
    return float(covariance / np.nanmean(np.square(clipped)))


if __name__ == "__main__":
    main()
