"""New spectra told by a run: those of the run itself are told as the run tells them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import distspec
from distspec.anomaly.score import PARTIAL_SCORES
from distspec.catalog import editions
from distspec.cli.main import main
from distspec.inference.predict import Predictor
from distspec.inference.run_model import RUN_MODEL_FILE
from distspec.io.files import read_table
from distspec.io.paths import run_url
from distspec.pipeline.config import Config
from distspec.pipeline.recipes import demo
from distspec.pipeline.runner import run_stages
from distspec.training.config import TrainingConfig

STAGES = ["synthesize", "ingest", "train", "embed", "cluster", "catalog"]


@pytest.fixture(scope="module")
def run(tmp_path_factory, local_ray) -> Config:
    config = demo(str(tmp_path_factory.mktemp("root")))
    small = {"spaces": ("features", "map"), "algorithms": ("gmm",), "covariances": ("tied",)}
    config = replace(
        config,
        synthetic=replace(config.synthetic, n_spectra=200, umap_seed=4),
        grid=replace(config.grid, n_pixels=128),
        estimate_training_memory=TrainingConfig(learning_rate=1e-3, max_epochs=5),
        build_clustering_columns=replace(
            config.clustering, **small, k_min=3, k_max=4, n_seeds=2, maps=1, n_init=1, n_actors=1
        ),
    ).resolve_urls()
    run_stages(config, STAGES)
    return config


@pytest.fixture(scope="module")
def objects(run) -> pa.Table:
    return editions.open_tables(run.root)["objects"].to_table().sort_by("object_id")


@pytest.fixture(scope="module")
def files(run, objects) -> list[str]:
    """The files of the catalogue's own spectra."""
    found = {path.name: str(path) for path in Path(run.root, "archive").rglob("*.fits")}
    return [found[name] for name in objects["object_id"].to_pylist()]


@pytest.fixture(scope="module")
def placed(run, objects, files) -> pa.Table:
    found = distspec.predict(run.root, files, z=objects["z"].to_pylist())
    assert found.rejected == []
    return found.table


def test_spectra_of_the_run_are_told_as_the_run_tells_them(objects, placed):
    assert placed["object_id"].to_pylist() == objects["object_id"].to_pylist()
    own, again = (table["cluster_label"].to_numpy() for table in (objects, placed))
    assert (own == again).mean() >= 0.99
    assert placed["galaxy_type"].to_pylist() == objects["galaxy_type"].to_pylist()
    assert placed["galaxy_type_reason"].to_pylist() == objects["galaxy_type_reason"].to_pylist()
    for name in ("z_mean_00", "recon_chi2_red", "snr", "norm", "artefact_score", "lya_ew"):
        assert np.allclose(placed[name], objects[name], rtol=1e-3, atol=1e-3, equal_nan=True), name


def test_they_are_as_odd_as_the_run_finds_them(objects, placed):
    same = objects["cluster_label"].to_numpy() == placed["cluster_label"].to_numpy()
    for name in (*PARTIAL_SCORES, "anomaly_score"):
        # Half a rank and rounding apart at most.
        apart = np.abs(placed[name].to_numpy() - objects[name].to_numpy())[same]
        assert np.quantile(apart, 0.9) < 0.05, name
    ranks = placed["anomaly_rank"].to_numpy() - objects["anomaly_rank"].to_numpy()
    assert np.abs(ranks[same]).max() <= 0.05 * len(objects)


def test_they_lie_where_they_lie_and_find_themselves(objects, placed):
    names, near = placed["object_id"].to_pylist(), placed["neighbors"].to_pylist()
    assert [each[0] for each in near] == names
    assert max(each[0] for each in placed["distances"].to_pylist()) < 0.01
    apart = np.hypot(*(placed[axis].to_numpy() - objects[axis].to_numpy() for axis in ("umap_0", "umap_1")))
    assert np.median(apart) < 0.1 * np.ptp(objects["umap_0"].to_numpy())


def test_a_bad_file_has_a_reason_and_the_others_go_on(run, objects, files, tmp_path, capsys, monkeypatch):
    good = tmp_path / Path(files[0]).name
    shutil.copy(files[0], good)
    (tmp_path / "cut.spec.fits").write_bytes(Path(files[1]).read_bytes()[:20_000])
    table = tmp_path / "z.csv"
    table.write_text(f"file,z\n{good.name},{objects['z'][0].as_py()}\ncut.spec.fits,5\n")
    named = [str(good), str(tmp_path / "cut.spec.fits"), str(tmp_path / "none.spec.fits")]
    out = str(tmp_path / "out.parquet")
    words = ["place", *named, "--root", run.root, "--redshifts", str(table), "--to", out]
    monkeypatch.setattr("sys.argv", ["distspec", *words])
    main()
    said = capsys.readouterr().out
    assert good.name in said
    assert "cut.spec.fits: unreadable" in said
    assert "none.spec.fits: not_found" in said
    written = read_table(out)
    assert written["cluster_label"].to_pylist() == objects["cluster_label"].slice(0, 1).to_pylist()
    assert written.schema.field("distances").metadata[b"description"]


def test_without_a_redshift_nothing_is_placed_and_it_says_what_to_give(run, files, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["distspec", "place", files[0], "--root", run.root])
    with pytest.raises(SystemExit, match="none of these could be used"):
        main()
    said = capsys.readouterr().out
    assert "no_redshift" in said
    assert "--z" in said


def test_redshifts_are_one_or_as_many_as_files(run, files):
    with pytest.raises(ValueError, match="2 redshifts for 3 files"):
        distspec.predict(run.root, files[:3], z=[5.0, 6.0])


def test_spectra_in_memory_are_placed_and_refused(run, files):
    from tests.conftest import power_law

    found = Predictor.open(run.root).predict([power_law("mine"), power_law("no", z=float("nan"))], 3)
    assert found.table["object_id"].to_pylist() == ["mine"]
    assert len(found.table["neighbors"][0].as_py()) == 3
    assert [(each.object_id, str(each.reason)) for each in found.rejected] == [("no", "no_redshift")]


def test_similar_from_the_command_line(run, objects, capsys, monkeypatch):
    name = objects["object_id"][3].as_py()
    monkeypatch.setattr("sys.argv", ["distspec", "similar", name, "--root", run.root, "--n", "4"])
    main()
    assert len(capsys.readouterr().out.splitlines()) == 1 + 4
    monkeypatch.setattr("sys.argv", ["distspec", "similar", name[:-1], "--root", run.root])
    with pytest.raises(SystemExit, match=f"near it: .*{name}"):
        main()


def test_rerank_from_the_command_line(run, objects, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["distspec", "rerank", "--root", run.root, "--n", "5"])
    main()
    said = capsys.readouterr().out
    first = objects.sort_by("anomaly_rank")["object_id"][0].as_py()
    assert first in said.splitlines()[1]
    assert "0 of" in said


def test_a_run_without_a_yardstick_says_what_to_do(run):
    url = Path(run_url(run.root, editions.read_current_record(run.root).run_id), RUN_MODEL_FILE)
    url.rename(f"{url}.away")
    try:
        with pytest.raises(FileNotFoundError, match=f"has no {RUN_MODEL_FILE}"):
            Predictor.open(run.root)
    finally:
        Path(f"{url}.away").rename(url)
