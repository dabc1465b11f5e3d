"""Measurements of real DJA spectra compared with published values of the same sources.

    python -m tests.benchmarks.published_values

Needs the real files (`DISTSPEC_TEST_DATA`). For each quantity and publication: the number of spectra that
have both values, the median of measured over published (equivalent widths, FWHM) or of measured minus
published (slopes), its robust standard deviation, and that of the difference in units of both errors.
Equivalent widths count where the published one is 3 sigma or more. [O III] is published for the line at 5008
Å and measured for both lines, which are 1.336 times as strong (Storey & Zeippen 2000, MNRAS 312, 813). Slopes
published from photometry are also compared with those of the same bands integrated through the spectra, lines
included.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import median_abs_deviation, norm

from distspec.measurements.standard_sets import NIRSPEC_PRISM_MEASUREMENTS
from tests.benchmarks.galaxy_types import ClassifiedSpectra, read_real_spectra
from tests.conftest import DATA

COLUMNS = {
    "halpha_ew": "halpha_ew",
    "hbeta_ew": "hbeta_ew",
    "oiii5008_ew": "oiii_ew",
    "beta_uv": "beta_uv",
    "beta_opt": "beta_opt",
    "broad_halpha_fwhm": "halpha_fwhm",
}
"""Measured column by published quantity."""
OIII_DOUBLET_RATIO = 1.336
"""Flux of both [O III] lines over that of the line at 5008 Å."""
MIN_SIGNIFICANCE = 3.0
BANDS = {
    "F115W": (1.154, 0.225),
    "F150W": (1.501, 0.318),
    "F200W": (1.989, 0.463),
    "F277W": (2.762, 0.672),
    "F356W": (3.568, 0.787),
    "F410M": (4.082, 0.436),
    "F444W": (4.404, 1.024),
}
"""Pivot wavelength and width [µm] of NIRCam's bands, taken as rectangular."""
BAND_MIN_WAVE = 3900.0
"""Bands with pivots beyond this rest wavelength [Å] make the optical slope."""


@dataclass(frozen=True)
class Comparison:
    """A quantity of sources as measured and as published.

    Attributes
    ----------
    quantity, publication : str
        What is compared, and with whom.
    measured, measured_err, published, published_err : ndarray of shape (n_spectra,)
        Values and their 1 sigma errors; NaN errors are not given.
    """

    quantity: str
    publication: str
    measured: NDArray[np.float64]
    measured_err: NDArray[np.float64]
    published: NDArray[np.float64]
    published_err: NDArray[np.float64]

    @property
    def is_ratio(self) -> bool:
        """Whether values are compared by their ratio."""
        return self.quantity.endswith(("_ew", "_fwhm"))

    @property
    def difference(self) -> NDArray[np.float64]:
        """Ratio, or difference of slopes, by spectrum."""
        return self.measured / self.published if self.is_ratio else self.measured - self.published

    @property
    def pull(self) -> NDArray[np.float64]:
        """Difference in units of both errors."""
        error = np.hypot(self.measured_err, np.nan_to_num(self.published_err))
        return (self.measured - self.published) / error


def compare_with_published() -> list[Comparison]:
    """Measure the real spectra, and return the comparison of each quantity with each publication."""
    spectra = read_real_spectra()
    batch = spectra.batch
    measured = NIRSPEC_PRISM_MEASUREMENTS.measure(batch.flux, batch.ivar, batch.z, spectra.grid)
    in_bands = measure_slope_in_bands(spectra)
    row_of = {name: i for i, name in enumerate(batch.object_id)}
    values: Mapping[tuple[str, str], list[Sequence[float]]] = defaultdict(list)
    with (DATA / "published" / "measurements.csv").open() as file:
        for row in csv.DictReader(file):
            quantity, i = row["quantity"], row_of.get(row["file"])
            if quantity not in COLUMNS or i is None:
                continue
            scale = OIII_DOUBLET_RATIO if quantity == "oiii5008_ew" else 1.0
            value, err = scale * float(row["value"]), scale * float(row["err"] or "nan")
            if "photometry" in row["source"] and quantity == "beta_opt" and np.isfinite(in_bands[i]):
                values[f"{quantity} in bands", row["source"]].append((in_bands[i], 0.0, value, err))
            is_insignificant = quantity.endswith("_ew") and not value > MIN_SIGNIFICANCE * err
            column = COLUMNS[quantity]
            found = [float(measured[name][i]) for name in (column, f"{column}_err")]
            if not is_insignificant and np.isfinite(found).all():
                values[quantity, row["source"]].append((*found, value, err))
    return [Comparison(*key, *np.array(rows).T) for key, rows in values.items()]


def measure_slope_in_bands(spectra: ClassifiedSpectra) -> NDArray[np.float64]:
    """Return the optical slope of bands that are integrated through spectra, as photometry sees them.

    Parameters
    ----------
    spectra : ClassifiedSpectra
        The spectra.

    Returns
    -------
    ndarray of shape (n_spectra,)
        Slope beta of f_lambda ~ lambda^beta; NaN with fewer than two covered bands.
    """
    batch, wave = spectra.batch, spectra.grid.wave_rest
    slopes = np.full(len(batch), np.nan)
    for i, z in enumerate(batch.z):
        valid, points = batch.ivar[i] > 0, []
        for pivot, width in BANDS.values():
            first, last = (1e4 * (pivot + side * width) / (1.0 + z) for side in (-0.5, 0.5))
            inside = valid & (wave > first) & (wave < last)
            if 1e4 * pivot / (1.0 + z) > BAND_MIN_WAVE and last < wave[valid].max() and inside.any():
                flux = np.average(batch.flux[i, inside], weights=np.gradient(wave)[inside])
                points.append((np.log(pivot), np.log(max(flux, 1e-9))))
        if len(points) > 1:
            x, y = np.array(points).T
            slopes[i] = np.polyfit(x, y, 1)[0]
    return slopes


def _robust_spread(values: NDArray[np.float64]) -> float:
    """Return the standard deviation of a Gaussian with the same median absolute deviation."""
    return float(median_abs_deviation(values) / norm.ppf(0.75))


def main() -> None:
    """Print the table."""
    print("| quantity | publication | spectra | median | robust spread | robust spread of the pull |")
    print("|---|---|---:|---:|---:|---:|")
    for one in compare_with_published():
        spread, pull = (_robust_spread(values) for values in (one.difference, one.pull))
        median = f"{np.median(one.difference):{'' if one.is_ratio else '+'}.2f}"
        cells = one.quantity, one.publication, len(one.measured), median, f"{spread:.2f}", f"{pull:.1f}"
        print(f"| {' | '.join(map(str, cells))} |")


if __name__ == "__main__":
    main()
