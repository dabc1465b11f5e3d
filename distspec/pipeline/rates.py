"""Measured rates from which runs are planned: CPU seconds of each operation and bytes of each folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from distspec.core.errors import ConfigError, DistspecError
from distspec.core.records import JsonRecord

DEFAULT_RATES_PATH = Path(__file__).parent / "rates.json"
"""Rates that are part of the package; they contain when and where they were measured."""


@dataclass(frozen=True)
class Benchmark:
    """Conditions of the measurement.

    Attributes
    ----------
    date, machine, command : str
        When, where and with which command the rates were measured.
    versions : mapping of str to str
        Versions of the packages.
    load_average : tuple of float
        Load of the machine during the large and the small run.
    recipe : str
        Recipe that was run.
    n_spectra, n_spectra_small : int
        Numbers of spectra of the large and the small run.
    n_pixels : int
        Number of pixels of the grid.
    n_seeds, n_init, resample_fraction : int, int, float
        Settings of the clustering, see `distspec.clustering.config.ClusteringConfig`.
    n_catalog_rows : int
        Number of rows of the catalog that was built.
    """

    date: str
    machine: str
    command: str
    versions: Mapping[str, str]
    load_average: tuple[float, ...]
    recipe: str
    n_spectra: int
    n_spectra_small: int
    n_pixels: int
    n_seeds: int
    n_init: int
    resample_fraction: float
    n_catalog_rows: int


@dataclass(frozen=True)
class StartupSeconds:
    """CPU seconds that a stage takes whatever its size: of the driver, and of each worker.

    Attributes
    ----------
    driver : float
        CPU time of the driver [s].
    worker : float
        CPU time of each worker [s].
    """

    driver: float
    worker: float


@dataclass(frozen=True)
class PowerLaw:
    """Time of an operation as a function of the number of points.

    Attributes
    ----------
    fixed_seconds : float
        Time for no points.
    seconds : float
        Time for `SweepRates.n_points` points.
    exponent : float
        Power of the number of points with which the difference grows.
    """

    fixed_seconds: float
    seconds: float
    exponent: float

    def extrapolate(self, n_points: float, n_reference: float) -> float:
        """Return the time for `n_points` points, if ``seconds`` was measured with `n_reference`.

        Parameters
        ----------
        n_points : float
            Number of points of the operation.
        n_reference : float
            Number of points with which ``seconds`` was measured.
        """
        variable = max(self.seconds - self.fixed_seconds, 0.0)
        return self.fixed_seconds + variable * (n_points / n_reference) ** self.exponent


@dataclass(frozen=True)
class SweepRates:
    """CPU seconds of the operations of a clustering sweep.

    Attributes
    ----------
    n_points : int
        Number of points with which they were measured.
    fit, silhouettes : mapping of str to PowerLaw
        Fit of one unit of work, and silhouettes of one trial, by ``<space>.<algorithm>``.
    umap : mapping of str to PowerLaw
        The neighbor graph ("graph") and the layout ("layout") of a map.
    consensus : float
        The consensus of the ensemble members.
    select : float
        The selection, per trial and point.
    """

    n_points: int
    fit: Mapping[str, PowerLaw]
    silhouettes: Mapping[str, PowerLaw]
    umap: Mapping[str, PowerLaw]
    consensus: float
    select: float


@dataclass(frozen=True)
class FolderBytes:
    """Size of a folder: a fixed part, and a part for each spectrum [bytes].

    Attributes
    ----------
    fixed : float
        Size without spectra [bytes].
    per_spectrum : float
        Increase with each spectrum [bytes].
    """

    fixed: float
    per_spectrum: float


@dataclass(frozen=True)
class GpuRates:
    """Seconds of a training step on a GPU: a fixed part, and a part for each spectrum of the batch.

    Attributes
    ----------
    seconds_per_step : float
        Time of a step that does not depend on the batch size [s].
    seconds_per_spectrum : float
        Time for each spectrum of the batch [s].
    machine : str
        GPU on which they were measured, and how.
    """

    seconds_per_step: float
    seconds_per_spectrum: float
    machine: str


@dataclass(frozen=True)
class ResourceRates(JsonRecord):
    """Measured rates; ``python -m tests.benchmarks.rates`` measures them.

    Attributes
    ----------
    benchmark : Benchmark
        Conditions of the measurement.
    startup_seconds : mapping of str to StartupSeconds
        CPU seconds before the work begins, by stage.
    seconds_per_spectrum : mapping of str to float
        CPU seconds by operation; of "train" for one epoch.
    sweep : SweepRates
        CPU seconds of the sweep.
    folder_bytes : mapping of str to FolderBytes
        Sizes of the folders below the root.
    catalog_row_bytes : float
        Size of a row of the catalog in memory.
    gpu : GpuRates
        Training on a GPU.
    """

    record_name = "rates"
    benchmark: Benchmark
    startup_seconds: Mapping[str, StartupSeconds]
    seconds_per_spectrum: Mapping[str, float]
    sweep: SweepRates
    folder_bytes: Mapping[str, FolderBytes]
    catalog_row_bytes: float
    gpu: GpuRates

    @classmethod
    def read(cls, path: Path = DEFAULT_RATES_PATH) -> ResourceRates:
        """Read rates from a JSON file.

        Parameters
        ----------
        path : Path
            File of rates; by default the one that is part of the package.

        Raises
        ------
        ConfigError
            If the file does not contain rates.
        """
        try:
            return cls.from_json(json.loads(path.read_text()))
        except (AttributeError, TypeError, ValueError, DistspecError) as error:
            raise ConfigError(
                f"{path} holds no rates: `python -m tests.benchmarks.rates` writes such a file"
            ) from error
