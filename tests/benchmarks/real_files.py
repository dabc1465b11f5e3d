"""The real files of the test data (`DISTSPEC_TEST_DATA`), ingested into stores without Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow.csv
from numpy.typing import NDArray

from distspec.models.batch import Batch
from distspec.pipeline.config import Config
from distspec.pipeline.recipes import RECIPES
from distspec.store.splits import is_validation
from distspec.store.store import Store
from tests.benchmarks.archive import ingest_without_ray
from tests.benchmarks.models import TrainingData, make_batch
from tests.conftest import DATA


@dataclass(frozen=True)
class StarSample:
    """The real stars of the SpeX Prism Library.

    Attributes
    ----------
    config : Config
        Settings of recipe `spex`.
    store : Store
        Store of the spectra.
    spectra : Batch
        The spectra.
    source_ids : list of str
        Their sources.
    is_held_out : ndarray of bool, shape (n_spectra,)
        Spectra of held-out sources, which no model is trained on.
    classes, spectral_types : ndarray of str, shape (n_spectra,)
        Class (M, L or T) and spectral type.
    """

    config: Config
    store: Store
    spectra: Batch
    source_ids: list[str]
    is_held_out: NDArray[np.bool_]
    classes: NDArray[np.str_]
    spectral_types: NDArray[np.str_]

    @classmethod
    def ingest(cls, root: str) -> StarSample:
        """Ingest the files below a root."""
        config, store = ingest_real_files("spex", root)
        rows = store.current_rows()
        ledger = store.ledger(["object_id", "source_id"]).take(rows)
        source_ids = ledger["source_id"].to_pylist()
        labels = read_spex_labels()
        known = [labels[object_id] for object_id in ledger["object_id"].to_pylist()]
        return cls(
            config,
            store,
            read_current_spectra(store),
            source_ids,
            is_validation(source_ids, config.training.validation_fraction),
            np.array([name for name, _ in known]),
            np.array([str(spectral_type) for _, spectral_type in known]),
        )

    def training_data(self) -> TrainingData:
        """Return the spectra divided by their sources."""
        fraction = self.config.training.validation_fraction
        return TrainingData.from_spectra(self.store.config.grid, self.spectra, self.source_ids, fraction)

    def arrays(self) -> tuple[Any, Any]:
        """Return flux and ivar, (n_spectra, n_pixels) each."""
        return self.spectra.spectrum.value.numpy(), self.spectra.spectrum.ivar.numpy()


def real_config(recipe: str, root: str) -> Config:
    """Return the settings of recipe `dja` or `spex` for the real files."""
    config, folder = RECIPES[recipe](root), DATA / recipe
    archive: Any = config.archive
    catalog = {"catalog": str(folder / "catalog.csv")} if recipe == "dja" else {}
    return replace(config, archive=replace(archive, url=str(folder), **catalog))


def ingest_real_files(recipe: str, root: str) -> tuple[Config, Store]:
    """Ingest the real files of recipe `dja` or `spex`."""
    config = real_config(recipe, root)
    return config, ingest_without_ray(root, config.ingest_source())


def read_current_spectra(store: Store) -> Batch:
    """Return the current spectra of a store."""
    rows = store.current_rows()
    flux, ivar = store.read_spectra(rows)
    return make_batch(flux, ivar, store.ledger(["z"])["z"].to_numpy()[rows])


def read_spex_labels() -> Mapping[str, tuple[str, str]]:
    """Return class and spectral type of the stars by their object id."""
    table = pyarrow.csv.read_csv(DATA / "spex" / "labels.csv").to_pydict()
    labels = zip(table["cls"], table["SPEX_TYPE"], strict=True)
    return dict(zip(table["DATA_FILE"], labels, strict=True))
