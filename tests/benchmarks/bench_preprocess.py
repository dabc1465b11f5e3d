"""`preprocess`: to the rest frame, onto the grid, to 1 at 1500 Å; batches of 64 in memory, one core.

Against its kernel alone, which resamples the same spectra, already in the rest frame.
"""

from __future__ import annotations

from distspec.ingestion import entries, read
from distspec.preprocessing import GridConfig, NormConfig, preprocess, to_rest_frame
from distspec.resampling import resample
from tests.benchmarks.archive import written
from tests.benchmarks.timing import Row, paired, rate

N_FILES, BATCH = 640, 64


def run() -> list[Row]:
    norm = NormConfig()
    with written(N_FILES) as archive:
        listing = archive.list()
        spectra, _, _ = read(archive, entries(listing))
    grid = GridConfig().resolve(listing["z"].to_numpy())
    rest = [to_rest_frame(spectrum) for spectrum in spectra]

    def whole() -> None:
        for start in range(0, len(spectra), BATCH):
            preprocess(spectra[start : start + BATCH], grid, norm, norm.slope)

    def kernel() -> None:
        for wave, flux, ivar in rest:
            resample(wave, flux, ivar, grid.edges)

    ours, theirs = paired(whole, kernel)
    resampled = rate("resample alone", len(spectra), "spectra", theirs)
    return [rate("preprocess", len(spectra), "spectra", ours).against(resampled), resampled]
