"""Predictions for new spectra by a run: for the run's own spectra they agree with the catalog."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from distspec.anomaly.score import DOUBTFUL_PROBABILITY, PARTIAL_SCORES, REDSHIFT_PENALTY
from distspec.catalog import editions
from distspec.cli.main import main
from distspec.core.errors import ConfigError, NotFoundError
from distspec.inference.files import predict
from distspec.inference.predict import Predictor
from distspec.inference.run_model import RUN_MODEL_FILE
from distspec.io.files import read_table
from distspec.io.paths import run_url
from distspec.pipeline.config import Config
from distspec.pipeline.runner import run_stages
from distspec.redshifts import RedshiftEstimates, RedshiftEstimator, RedshiftPosterior
from tests.conftest import power_law, real_data
from tests.helpers.small_demo import small_demo


@pytest.fixture(scope="module")
def run(tmp_path_factory, demo_folder) -> Config:
    """A copy of the small demo, clustered in features: positions of new spectra on a map are approximate."""
    root = shutil.copytree(demo_folder / "out" / "demo", tmp_path_factory.mktemp("predict") / "demo")
    config = small_demo(root)
    config = replace(config, clustering=replace(config.clustering, spaces=("features",)))
    run_stages(config, ["cluster"])
    run_stages(config, ["catalog"])
    return config


@pytest.fixture(scope="module")
def objects(run) -> pa.Table:
    return editions.open_tables(run.root)["objects"].to_table().sort_by("object_id")


@pytest.fixture(scope="module")
def files(run, objects) -> list[str]:
    """The files of the catalog's own spectra."""
    paths = {path.name: str(path) for path in Path(run.root, "archive").rglob("*.fits")}
    return [paths[name] for name in objects["object_id"].to_pylist()]


@pytest.fixture(scope="module")
def predicted(run, objects, files) -> pa.Table:
    prediction = predict(run.root, files, z=objects["z"].to_pylist())
    assert prediction.rejected == []
    return prediction.table


def test_predictions_for_the_runs_own_spectra_agree_with_the_catalog(objects, predicted):
    assert predicted["object_id"].to_pylist() == objects["object_id"].to_pylist()
    published, labels = (table["cluster_label"].to_numpy() for table in (objects, predicted))
    assert (published == labels).mean() >= 0.99
    assert predicted["galaxy_type"].to_pylist() == objects["galaxy_type"].to_pylist()
    assert predicted["galaxy_type_reason"].to_pylist() == objects["galaxy_type_reason"].to_pylist()
    for name in ("z_mean_00", "recon_chi2_red", "snr", "norm", "artefact_score", "lya_ew"):
        assert np.allclose(predicted[name], objects[name], rtol=1e-3, atol=1e-3, equal_nan=True), name


def test_anomaly_scores_of_the_runs_own_spectra_agree_with_the_catalog(objects, predicted):
    same_class = objects["cluster_label"].to_numpy() == predicted["cluster_label"].to_numpy()
    is_galaxy = np.array(objects["z_class"].to_pylist()) == "galaxy"
    doubtful = is_galaxy & (objects["p_outlier"].to_numpy() >= DOUBTFUL_PROBABILITY)
    # The redshifts of new spectra are given, so that none is doubtful.
    score = objects["anomaly_score"].to_numpy() + np.float32(REDSHIFT_PENALTY) * doubtful
    expected = {name: objects[name].to_numpy() for name in PARTIAL_SCORES} | {"anomaly_score": score}
    for name, values in expected.items():
        # They differ by half a rank and by rounding.
        difference = np.abs(predicted[name].to_numpy() - values)[same_class]
        assert np.quantile(difference, 0.9) < 0.05, name
    # Spectra of equal score have different ranks in the catalog; a prediction has the best of them. Its rank
    # is among the scores of the catalog, where doubtful ones are lower.
    run_score = np.sort(objects["anomaly_score"].to_numpy())
    best_rank = len(objects) - np.searchsorted(run_score, score.astype(np.float32), "right") + 1
    assert np.abs(predicted["anomaly_rank"].to_numpy() - best_rank)[same_class].max() <= 0.05 * len(objects)


def test_the_runs_own_spectra_are_among_the_most_similar(objects, predicted):
    """Of a noisy spectrum, others that are known better can have higher Bayes factors."""
    neighbors, names = predicted["neighbors"].to_pylist(), predicted["object_id"].to_pylist()
    assert np.mean([name in found for name, found in zip(names, neighbors, strict=True)]) > 0.9
    for factors in predicted["ln_bayes_factors"].to_pylist():
        assert factors == sorted(factors, reverse=True)
    shift = np.hypot(
        *(predicted[axis].to_numpy() - objects[axis].to_numpy() for axis in ("umap_0", "umap_1"))
    )
    assert np.median(shift) < 0.1 * np.ptp(objects["umap_0"].to_numpy())


def test_unusable_files_are_rejected_with_a_reason(run, objects, files, tmp_path, capsys):
    usable = tmp_path / Path(files[0]).name
    shutil.copy(files[0], usable)
    (tmp_path / "cut.spec.fits").write_bytes(Path(files[1]).read_bytes()[:20_000])
    redshifts = tmp_path / "z.csv"
    redshifts.write_text(f"file,z\n{usable.name},{objects['z'][0].as_py()}\ncut.spec.fits,5\n")
    names = [str(usable), str(tmp_path / "cut.spec.fits"), str(tmp_path / "none.spec.fits")]
    out = str(tmp_path / "out.parquet")
    main(["predict", *names, "--root", run.root, "--redshifts", str(redshifts), "--to", out])
    printed = capsys.readouterr().out
    assert usable.name in printed
    assert "cut.spec.fits: unreadable" in printed
    assert "none.spec.fits: not_found" in printed
    written = read_table(out)
    assert written["cluster_label"].to_pylist() == objects["cluster_label"].slice(0, 1).to_pylist()
    assert written.schema.field("ln_bayes_factors").metadata[b"description"]


def test_redshifts_that_are_not_given_are_measured(
    run, objects, files, tmp_path, capsys, caplog, monkeypatch
):
    """The spectra are predicted at the redshifts of the estimator, which gives those of the archive."""
    z = dict(zip(objects["object_id"].to_pylist(), objects["z"].to_pylist(), strict=True))
    limits = []

    def estimate(spectra):
        each = [z[spectrum.object_id] for spectrum in spectra]
        posteriors = [
            RedshiftPosterior(one + np.array([-0.1, 0.0, 0.1]), np.full(3, 1 / 3), one, 9.5, 4.0)
            for one in each
        ]
        numbers = [np.zeros(len(each))] * 3
        return RedshiftEstimates(list(range(len(each))), posteriors, *numbers, [])

    def from_model(model, config):
        limits.append((model.model_id, config.z_min, config.z_max))
        return SimpleNamespace(estimate=estimate)

    monkeypatch.setattr(RedshiftEstimator, "from_model", from_model)
    out = str(tmp_path / "out.parquet")
    main(["predict", *files[:3], "--root", run.root, "--z-min", "1", "--z-max", "12", "--to", out])
    assert [limit[1:] for limit in limits] == [(1.0, 12.0)], "one estimator for all files"
    assert "68 % of p(z)" in capsys.readouterr().out
    assert "measuring the redshifts of 3 spectra" in caplog.text
    written = read_table(out)
    assert written["cluster_label"].to_pylist() == objects["cluster_label"].slice(0, 3).to_pylist()
    assert written["z"].to_pylist() == objects["z"].slice(0, 3).to_pylist()
    assert set(written["z_source"].to_pylist()) == {"model"}
    assert written["z_model_second"].to_pylist() == [9.5] * 3
    assert (written["z_model_p84"].to_numpy() > written["z"].to_numpy()).all()


def test_runs_of_stars_measure_no_redshifts(run):
    predictor = Predictor.open(run.root)
    spectra = predictor.catalog_spectra
    at_rest = spectra.table.set_column(
        spectra.table.column_names.index("z"), "z", pa.array(np.zeros(len(spectra.table)))
    )
    stars = replace(predictor, catalog_spectra=replace(spectra, table=at_rest))
    with pytest.raises(ConfigError, match=r"one redshift.*--z 0"):
        stars.open_redshift_estimator()


def test_impossible_redshifts_are_rejected_and_the_remedy_is_named(run, files, capsys):
    with pytest.raises(SystemExit) as error:
        main(["predict", files[0], "--root", run.root, "--z", "-5"])
    assert error.value.code == 1
    printed = capsys.readouterr()
    assert "no_redshift" in printed.out
    assert "--z" in printed.out
    assert "none of the spectra can be used" in printed.err


def test_real_galaxies_are_described_without_redshifts(tmp_path, capsys):
    """Two of grade 3, at z = 3.50 and 5.52, and one whose redshift is given."""
    folder, stem = real_data("dja"), "capers-{}_prism-clear_6368_{}.spec.fits"
    parts = [("cos10-v4", 30440), ("udsp1-v4", 23419), ("cos19-v4", 4771)]
    names = [stem.format(*part) for part in parts]
    (tmp_path / "z.csv").write_text(f"file,z\n{names[2]},5.92735\n")
    out = str(tmp_path / "out.parquet")
    command = ["predict", *(str(folder / name) for name in names), "--model", "prism-simulated", "--to", out]
    main([*command, "--redshifts", str(tmp_path / "z.csv"), "--z-min", "3", "--z-max", "6"])
    written = read_table(out)
    assert written["object_id"].to_pylist() == names
    assert written["z"].to_pylist() == pytest.approx([3.5045, 5.51601, 5.92735], abs=0.03)
    assert written["z_source"].to_pylist() == ["model", "model", "archive"]
    assert written["z_model_p16"].null_count == written["z_model_p84"].null_count == 1
    assert names[0] in capsys.readouterr().out


def test_number_of_redshifts_must_be_one_or_that_of_the_files(run, files):
    with pytest.raises(ConfigError, match="2 redshifts for 3 files"):
        predict(run.root, files[:3], z=[5.0, 6.0])


def test_spectra_in_memory_are_predicted_or_rejected(run):
    spectra = [power_law("mine"), power_law("no", z=float("nan"))]
    prediction = Predictor.open(run.root).predict(spectra, 3)
    assert prediction.table["object_id"].to_pylist() == ["mine"]
    assert len(prediction.table["neighbors"][0].as_py()) == 3
    assert [(row.object_id, str(row.reason)) for row in prediction.rejected] == [("no", "no_redshift")]


def test_similar_spectra_are_listed_and_unknown_names_get_suggestions(run, objects, capsys):
    name = objects["object_id"][3].as_py()
    main(["similar", name, "--root", run.root, "--n", "4"])
    assert len(capsys.readouterr().out.splitlines()) == 1 + 4
    with pytest.raises(SystemExit):
        main(["similar", name[:-1], "--root", run.root])
    assert name in capsys.readouterr().err


def test_rerank_without_marks_keeps_the_order(run, objects, capsys):
    main(["rerank", "--root", run.root, "--n", "5"])
    printed = capsys.readouterr().out
    first = objects.sort_by("anomaly_rank")["object_id"][0].as_py()
    assert first in printed.splitlines()[1]
    assert "0 of" in printed


def test_missing_run_model_is_reported(run):
    path = Path(run_url(run.root, editions.read_current_record(run.root).run_id), RUN_MODEL_FILE)
    path.rename(f"{path}.away")
    try:
        with pytest.raises(NotFoundError, match=f"has no {RUN_MODEL_FILE}"):
            Predictor.open(run.root)
    finally:
        Path(f"{path}.away").rename(path)


def test_nothing_is_loaded_for_files_that_cannot_be_read(run, tmp_path, capsys, monkeypatch):
    (tmp_path / "text.spec.fits").write_text("not FITS")
    loaded = []
    monkeypatch.setattr(Predictor, "open", loaded.append)
    with pytest.raises(SystemExit) as error:
        main(["predict", str(tmp_path / "text.spec.fits"), "--root", run.root, "--z", "5"])
    assert error.value.code == 1
    assert loaded == []
    printed = capsys.readouterr()
    assert "text.spec.fits: unreadable" in printed.out
    assert "none of the spectra can be used" in printed.err


def test_predictor_imports_neither_ray_nor_matplotlib_and_the_reader_of_files_no_torch_either():
    code = (
        "import sys, distspec.inference.files; "
        "print({name.partition('.')[0] for name in sys.modules} & {'ray', 'matplotlib', 'torch', 'umap'}); "
        "import distspec.inference.predict; "
        "print({name.partition('.')[0] for name in sys.modules} & {'ray', 'matplotlib'})"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["set()", "set()"]
