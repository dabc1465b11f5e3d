"""Fifty spectra in files as people have them reach a catalog in one run."""

import numpy as np
import pytest

import distspec
from distspec.core.errors import CatalogError, StoreError
from distspec.store.store import open_store
from tests.helpers.own_spectra import WRITERS, simulate, write_csv, write_set

SMALL = {
    "vae": {"hidden_sizes": (32, 16), "dropout": (0.1, 0.1), "n_latents": 4},
    "training": {"max_epochs": 3},
    "clustering": {
        **{"spaces": ("latents",), "algorithms": ("gmm",), "covariance_types": ("tied",)},
        **{"k_min": 2, "k_max": 3, "n_models": 1, "n_seeds": 2, "n_null_draws": 0, "n_actors": 1},
    },
}


@pytest.mark.parametrize(
    "kind", [kind if kind == "csv" else pytest.param(kind, marks=pytest.mark.slow) for kind in WRITERS]
)
def test_fifty_spectra_reach_a_catalog(kind, tmp_path, local_ray):
    spectra = simulate(50)
    table = write_set(kind, tmp_path / "own", spectra)
    archive = {"url": str(tmp_path / "own"), "catalog": str(table)}
    stages = [] if kind != "csv" else ["ingest", "train", "embed", "cluster", "catalog"]
    project = distspec.run("table", tmp_path / "root", stages, archive=archive, **SMALL)
    objects = project.query("SELECT object_id, z, ra, _healpix_29, source_id FROM objects").to_arrow()
    assert sorted(objects["z"].to_pylist()) == sorted(spectrum.z for spectrum in spectra)
    assert len(project.quarantine().to_arrow()) == 0
    assert len(set(objects["source_id"].to_pylist())) == 50
    assert project.verify().problems == ()
    has_position = kind == "msaexp"
    assert objects["_healpix_29"].null_count == objects["ra"].null_count == (0 if has_position else 50)
    if kind != "csv":
        return
    with pytest.raises(CatalogError, match="no spectrum has a position"):
        project.export(str(tmp_path / "hats"), "hats")
    store = open_store(str(tmp_path / "root" / "store"))
    write_csv(tmp_path / "own", simulate(51)[-1])
    table.write_text(f"{table.read_text()}s50.csv,5.5\n")
    distspec.run("table", tmp_path / "root", ["ingest"], archive=archive, **SMALL)
    grown = open_store(str(tmp_path / "root" / "store"))
    assert (grown.n_rows, grown.config) == (51, store.config)
    assert np.isnan(grown.ledger(["ra"])["ra"].to_numpy()).all()
    with pytest.raises(StoreError, match=r"grid.n_pixels"):
        distspec.run("table", tmp_path / "root", ["ingest"], archive=archive, grid={"n_pixels": 77}, **SMALL)
