"""Spectra in files as people have them: ingested without positions, and fifty in a catalog after one run."""

import shlex

import numpy as np
import pytest

import distspec
from distspec.catalog.build import _find_healpix_cells
from distspec.cli.main import main
from distspec.core.errors import CatalogError, StoreError
from distspec.store.store import open_store
from distspec.store.verify import verify_store
from tests.helpers.own_spectra import WRITERS, simulate, write_csv, write_set

SMALL = shlex.split(
    "--vae.hidden-sizes 32 16 --vae.dropout 0.1 0.1 --vae.n-latents 4 --training.max-epochs 3 "
    "--clustering.spaces features latents --clustering.algorithms gmm --clustering.covariance-types tied "
    "--clustering.k-min 2 --clustering.k-max 3 --clustering.n-models 1 --clustering.n-seeds 2 "
    "--clustering.n-null-draws 1 --clustering.n-actors 1"
)
"""A small model and sweep."""


def test_spectra_without_positions_are_ingested_and_later_ones_join_them_with_the_same_settings(
    tmp_path, local_ray
):
    table = write_set("csv", tmp_path / "own", simulate(8))
    root, archive = str(tmp_path / "root"), {"url": str(tmp_path / "own"), "catalog": str(table)}
    distspec.run("table", root, ["ingest"], archive=archive)
    store = open_store(f"{root}/store")
    assert verify_store(root)[1] == []
    write_csv(tmp_path / "own", simulate(9)[-1])
    table.write_text(f"{table.read_text()}s08.csv,5.5\n")
    distspec.run("table", root, ["ingest"], archive=archive)
    grown = open_store(f"{root}/store")
    assert (grown.n_rows, grown.config) == (9, store.config)
    ledger = grown.ledger(["ra", "source_id"])
    assert np.isnan(ledger["ra"].to_numpy()).all()
    assert len(set(ledger["source_id"].to_pylist())) == 9
    with pytest.raises(StoreError, match=r"grid.n_pixels"):
        distspec.run("table", root, ["ingest"], archive=archive, grid={"n_pixels": 77})


def test_spectra_without_positions_have_no_healpix_cell():
    cells = _find_healpix_cells(np.array([53.16, np.nan]), np.array([-27.79, np.nan]))
    assert cells.to_pylist() == [2528750938111963644, None]


@pytest.mark.slow
@pytest.mark.parametrize("kind", WRITERS)
def test_fifty_spectra_reach_a_catalog(kind, tmp_path, local_ray, capsys):
    spectra = simulate(50)
    table = write_set(kind, tmp_path / "own", spectra)
    root = str(tmp_path / "root")
    archive = ["--archive.url", str(tmp_path / "own"), "--archive.catalog", str(table)]
    main(["run", "table", "--root", root, *archive, *SMALL])
    assert f"distspec explore --root {root}" in capsys.readouterr().out
    project = distspec.open(root)
    objects = project.query("SELECT object_id, z, ra, _healpix_29, source_id FROM objects").to_arrow()
    assert sorted(objects["z"].to_pylist()) == sorted(spectrum.z for spectrum in spectra)
    assert len(project.quarantine().to_arrow()) == 0
    assert len(set(objects["source_id"].to_pylist())) == 50
    assert project.verify().problems == ()
    has_position = kind == "msaexp"
    assert objects["_healpix_29"].null_count == objects["ra"].null_count == (0 if has_position else 50)
    if not has_position:
        with pytest.raises(CatalogError, match="no spectrum has a position"):
            project.export(str(tmp_path / "hats"), "hats")
