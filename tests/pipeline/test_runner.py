"""The whole pipeline, on a small simulated archive and on real files."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from distspec.archives.dja import DJA
from distspec.catalog import editions
from distspec.catalog.runs import load_run
from distspec.cli.main import main as distspec
from distspec.cli.run import format_summary
from distspec.clustering.config import ClusteringConfig
from distspec.core.errors import NotFoundError, StorageError, TrainingError
from distspec.io.files import read_json
from distspec.io.job_log import list_jobs, read_events
from distspec.io.paths import model_url, run_url, store_url
from distspec.io.stage_log import read_stage_record
from distspec.labels import annotations
from distspec.models.record import read_model_record
from distspec.models.registry import read_promoted
from distspec.operations.integrity import find_integrity_problems
from distspec.operations.policy import RetrainConfig
from distspec.pipeline import runner
from distspec.pipeline.config import Config
from distspec.pipeline.recipes import parse
from distspec.pipeline.reproduce import reproduce
from distspec.pipeline.runner import STAGES, find_run, resolve_model_id, resolve_model_ids, run_stages
from distspec.report import page
from distspec.report.config import ReportConfig
from distspec.stages import pool
from distspec.stages.result import StageResult
from distspec.store.store import open_store
from distspec.training.config import TrainingConfig
from tests.helpers.small_demo import small_demo
from tests.training.build_store import SMALL as SMALL_VAE
from tests.training.build_store import make_store

ALL = list(STAGES)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, demo_folder) -> Config:
    """A copy of the small demo; what has paths is written again, but the figures are not drawn again."""
    root = tmp_path_factory.mktemp("finished") / "demo"
    shutil.copytree(demo_folder / "out" / "demo", root)
    config = small_demo(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "write_report", lambda data, url: url)
        assert run_stages(config, ALL)
    return config


def table(config: Config, name: str) -> pa.Table:
    return editions.open_tables(config.root)[name].to_table()


def shorten_catalog(config: Config, n: int) -> str:
    """Simulate the archive, keep `n` spectra in its catalog, and return the complete catalog."""
    run_stages(config, ["simulate"])
    file = Path(config.archive.catalog)
    whole = file.read_text()
    file.write_text("".join(whole.splitlines(keepends=True)[: n + 1]))
    return whole


def list_file_times(root: str) -> dict[str, float]:
    """Return the modification times of all files but the lease and the records of jobs."""
    files = [path for path in Path(root).rglob("*") if path.is_file() and "lease.json" not in path.name]
    files = [path for path in files if path.parents[1].name != "jobs"]
    return {str(path): path.stat().st_mtime_ns for path in files}


def test_every_listed_spectrum_is_published_or_quarantined(finished):
    listing = finished.archive.list_spectra()
    objects, quarantine = table(finished, "objects"), table(finished, "quarantine")
    names = objects["object_id"].to_pylist() + quarantine["object_id"].to_pylist()
    assert sorted(names) == listing["object_id"].to_pylist()
    assert pc.sum(table(finished, "classes")["n_spectra"]).as_py() == len(objects)
    assert len(table(finished, "sweep")) == 2 * 2 * (2 * 2 + 3), "spaces, seeds, mixtures and fractions"


def test_a_second_run_does_nothing(finished, caplog):
    before = list_file_times(finished.root)
    with caplog.at_level("INFO", logger="distspec"):
        assert not run_stages(finished, ALL)
    assert list_file_times(finished.root) == before
    messages = [record.getMessage() for record in caplog.records]
    assert sum("nothing to do" in message for message in messages) == len(ALL), messages


@pytest.mark.slow  # the reproduction of a run compares bits
def test_the_same_seed_gives_the_same_catalog(finished, tmp_path):
    again = small_demo(tmp_path)
    run_stages(again, ALL)
    for name in ("objects", "classes", "anomalies"):
        one, two = table(finished, name), table(again, name)
        assert one.schema.names == two.schema.names
        for column in one.schema.names:
            if pa.types.is_floating(one.schema.field(column).type):
                assert np.allclose(one[column], two[column], atol=1e-4, equal_nan=True), column
            else:
                assert one[column].equals(two[column]), column


def test_the_root_is_without_problems(finished):
    assert find_integrity_problems(finished.root) == []


@pytest.mark.slow  # tests/docs reproduces a run by the command
def test_a_run_is_reproduced_from_its_record(finished, tmp_path):
    assert reproduce(finished.root, find_run(finished)[1], str(tmp_path)).differences == ()


@pytest.mark.slow  # tests/docs reproduces a run by the command
def test_a_model_is_reproduced_from_its_record(finished, tmp_path):
    assert reproduce(finished.root, resolve_model_id(finished), str(tmp_path)).differences == ()


def test_spectra_of_a_source_have_the_same_split(finished):
    sides = table(finished, "objects").group_by("source_id").aggregate([("split", "count_distinct")])
    assert set(sides["split_count_distinct"].to_pylist()) == {1}
    objects = table(finished, "objects")
    assert len(pc.unique(objects["source_id"])) < len(objects), "some sources have several spectra"


def test_a_changed_setting_reruns_only_dependent_stages(finished, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(page, "write_report", lambda data, url: url)  # drawing takes long
    before = small_demo(shutil.copytree(finished.root, tmp_path / "demo"))
    less = replace(before.clustering, selection_rule="silhouette", spaces=("features",), n_seeds=1)
    other = replace(before, clustering=less)
    with caplog.at_level("INFO", logger="distspec"):
        run_stages(other, ALL)
    messages = {r.getMessage().split()[0]: r.getMessage() for r in caplog.records}
    did_work = {stage: "nothing to do" not in messages[stage] for stage in ALL}
    assert did_work == {
        "simulate": False, "ingest": False, "train": False, "redshifts": False, "embed": False,
        "cluster": True, "catalog": True, "report": True,
    }  # fmt: skip
    run_stages(before, ["catalog"])
    assert editions.read_current_record(before.root).run_id == find_run(before)[1]


def test_the_record_of_a_run_has_its_settings_and_versions(finished, demo_folder):
    _, run = find_run(finished)
    record = read_json(run_url(finished.root, run) + "/run.json")
    original = small_demo(demo_folder / "out" / "demo")
    assert record["config"] == json.loads(json.dumps(original.to_dict()))
    assert record["recipe"] == "demo"
    assert record["model_id"].startswith("m-")
    assert {"torch", "distspec"} <= record["versions"].keys()
    assert table(finished, "objects").schema.metadata[b"model_id"].decode() == record["model_id"]


def test_the_report_compares_with_the_truth_and_the_null(finished):
    page = (Path(run_url(finished.root, find_run(finished)[1])) / "report" / "index.html").read_text()
    for words in ("ARI", "NMI", "null", "top 1 %", "top 5 %", "quasar"):
        assert words in page
    assert "truth" not in set(open_store(store_url(finished.root)).ledger().schema.names)


def test_columns_of_a_table_are_joined_to_the_report(finished, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(page, "write_report", lambda data, url: drawn.append(data) or url)
    monkeypatch.setattr(runner, "write_json", lambda url, inputs: None)
    file = tmp_path / "masses.csv"
    ids = table(finished, "objects")["object_id"].to_pylist()
    file.write_text("object_id,mass\n" + "".join(f"{name},9.5\n" for name in ids[:20]))
    config = replace(finished, report=ReportConfig(table=str(file)))
    assert runner.STAGES["report"](SimpleNamespace(config=config)).did_work
    assert not runner.STAGES["report"](SimpleNamespace(config=finished)).did_work, "without a table"
    (column,) = drawn[0].map_columns
    assert (column.name, column.n_matched, np.isfinite(column.values).sum()) == ("mass", 20, 20)
    assert drawn[0].space is not None
    assert len(drawn[0].odd_features) == 10
    assert drawn[0].edition == editions.find_record(finished.root).number


def test_the_summary_has_results_and_paths(finished):
    words = format_summary(finished)
    assert "No reproducible classes were found" in words
    assert words.splitlines()[-1] == f"Explore  distspec explore --root {finished.root}"
    assert words.count(".spec.fits") == 10
    assert "read_parquet(" in words
    assert "index.html" in words


def test_the_command_queries_the_catalog(finished, monkeypatch, capsys):
    def run(*args: str) -> str:
        monkeypatch.setattr(sys, "argv", ["distspec", *args, "--root", finished.root])
        distspec()
        return capsys.readouterr().out

    assert "260" not in run("query", "SELECT count(*) AS n FROM quarantine")
    assert "erg s-1 cm-2 Angstrom-1" in run("columns")
    with pytest.raises(SystemExit):
        run("query", "Nonsense")


def test_a_stage_out_of_order_names_the_missing_stage(tmp_path, local_ray):
    config = Config(str(tmp_path), "dja", DJA())
    with pytest.raises(NotFoundError, match="distspec run ingest"):
        run_stages(config, ["train"])
    make_store(tmp_path, 100)
    for stage, first in (
        ("embed", "train"),
        ("cluster", "embed"),
        ("catalog", "cluster"),
        ("report", "cluster"),
    ):
        with pytest.raises(NotFoundError, match=f"distspec run {first}"):
            run_stages(config, [stage])


@pytest.mark.slow
def test_two_workers_train_as_well_as_one(finished, tmp_path):
    """Two workers reach the same loss as one, within the scatter of a short training."""
    config = replace(small_demo(tmp_path), training=replace(finished.training, workers=2))
    run_stages(config, ["simulate", "ingest", "train", "embed"])
    errors = []
    for trained in (finished, config):
        models = [path for path in (Path(trained.root) / "models").iterdir() if path.is_dir()]
        record = read_json(str(models[0] / "model.json"))
        assert (
            record["metrics"]["n_train"] + record["metrics"]["n_validation"]
            == open_store(store_url(trained.root)).n_rows
        )
        errors.append(record["metrics"]["val_recon"])
    assert errors[1] == pytest.approx(errors[0], rel=0.3)


def test_a_grown_archive_appends_rows(finished, tmp_path):
    config = small_demo(tmp_path)
    whole = shorten_catalog(config, 150)
    run_stages(config, ["ingest"])
    store = open_store(store_url(config.root))
    first, flux = store.ledger(), store.read_spectra(slice(None))[0]
    Path(config.archive.catalog).write_text(whole)
    run_stages(config, ["ingest"])
    grown = open_store(store_url(config.root))
    ledger = grown.ledger().slice(0, len(first))
    assert ledger.schema.equals(first.schema)
    for name in first.column_names:
        assert ledger[name].is_null().equals(first[name].is_null()), name
        one, two = (values[name].to_numpy() for values in (first, ledger))
        np.testing.assert_array_equal(one, two, name)  # `equals` is false for NaN
    assert np.array_equal(grown.read_spectra(slice(0, len(first)))[0], flux)
    assert set(grown.ledger()["object_id"].to_pylist()) == set(
        table(finished, "objects")["object_id"].to_pylist()
    )


@pytest.mark.slow
def test_classes_and_labels_persist_when_the_archive_grows(tmp_path, local_ray):
    """Add a fifth of the spectra: with the same model, then with a candidate, and with labels."""
    config = small_demo(tmp_path)
    whole = shorten_catalog(config, 216)
    run_stages(config, ALL)
    first = table(config, "objects")
    model = resolve_model_id(config)
    annotations.add_annotations(
        config.root,
        [annotations.Annotation(name, "seen", "ann") for name in first["object_id"].to_pylist()[:20]],
    )
    Path(config.archive.catalog).write_text(whole)
    grown = replace(config, retrain=RetrainConfig(change_threshold=0.5))
    assert run_stages(grown, ALL)
    assert resolve_model_id(grown) == model, "too little has changed"
    assert set(table(config, "objects")["split"].to_pylist()) == {"train", "validation", "none"}
    second, changes = table(grown, "objects"), table(grown, "changes")
    assert second["human_label"].to_pylist().count("seen") == 20
    before = dict(zip(first["object_id"].to_pylist(), first["class_id"].to_pylist(), strict=True))
    expected = [before.get(name) for name in second["object_id"].to_pylist()]
    assert second["previous_class_id"].to_pylist() == expected
    kept_ids = set(changes.filter(pc.equal(changes["change"], "kept"))["class_id"].to_pylist())
    assert kept_ids, "no class continues"
    assert kept_ids == set(before.values()) & set(second["class_id"].to_pylist()) - {None}
    assert pc.sum(changes.filter(pc.is_valid(changes["class_id"]))["n_spectra"]).as_py() == sum(
        class_id is not None for class_id in second["class_id"].to_pylist()
    )
    assert not run_stages(grown, ALL)
    annotations.add_annotations(
        config.root, [annotations.Annotation(second["object_id"][200].as_py(), "new", "bob")]
    )
    assert run_stages(grown, ["catalog"])
    assert table(grown, "changes").equals(changes)
    assert run_stages(config, ALL)
    decision, promotion = (
        next(
            event.payload
            for event in read_events(config.root, list_jobs(config.root)[-1].number)
            if event.event_type == kind
        )
        for kind in ("decision", "promotion")
    )
    assert "spectra added" in decision["reason"]
    assert (resolve_model_id(config) == promotion["candidate"]) is promotion["promote"]
    third = table(config, "objects")
    assert third.schema.metadata[b"model_id"].decode() == resolve_model_id(config)
    known = dict(zip(second["object_id"].to_pylist(), second["class_id"].to_pylist(), strict=True))
    assert third["previous_class_id"].to_pylist() == [known[name] for name in third["object_id"].to_pylist()]


@pytest.mark.slow
def test_a_pretrained_model_is_used_for_another_archive(finished, tmp_path):
    """A pretrained model is used for another archive; nothing is trained."""
    model = Path(finished.root) / "models" / resolve_model_id(finished)
    config = small_demo(tmp_path)
    config = replace(
        config, simulation=replace(config.simulation, n_spectra=60, seed=5), pretrained_model=str(model)
    )
    clustering = replace(config.clustering, k_max=5, measurements=("lya_ew",))
    config = replace(config, clustering=clustering).resolve_urls()
    assert run_stages(config, ALL)
    objects = table(config, "objects")
    assert objects.schema.metadata[b"model_id"].decode() == model.name
    assert set(objects["split"].to_pylist()) == {"none"}
    assert np.isfinite(objects["lya_ew"].to_numpy()).mean() > 0.5
    record = read_json(run_url(config.root, find_run(config)[1]) + "/run.json")
    assert record["config"]["pretrained_model"] == str(model)
    copied = read_json(str(Path(config.root) / "models" / model.name / "model.json"))
    assert copied["dataset_checksum"] == open_store(store_url(finished.root)).dataset_checksum()
    assert not run_stages(config, ALL)
    other = replace(config, root=str(tmp_path / "other"), grid=replace(config.grid, n_pixels=64))
    run_stages(other, ["ingest"])
    with pytest.raises(ValueError, match=r"takes 128 log pixels.*64 log pixels"):
        run_stages(other, ["embed"])


def test_a_root_has_one_grid(finished):
    with pytest.raises(ValueError, match=r"grid\.n_pixels is 128, not 64.*another --root"):
        run_stages(replace(finished, grid=replace(finished.grid, n_pixels=64)), ["ingest"])


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["dja", "paper"])
def test_pipeline_on_real_dja_files(recipe, dja_files, tmp_path, local_ray, monkeypatch, capsys):
    root = str(tmp_path / "dja")
    flags = ["--archive.catalog", str(dja_files / "catalog.csv"), "--archive.url", str(dja_files)]
    quick = ["--training.max-epochs", "4", "--clustering.n-seeds", "2", "--clustering.n-actors", "1"]
    if recipe == "dja":
        quick += ["--clustering.n-null-draws", "1", "--clustering.spaces", "latents"]
    distspec(["run", recipe, "--root", root, *flags, *quick])
    config = parse([recipe, "--root", root, *flags, *quick])
    objects, quarantine = table(config, "objects"), table(config, "quarantine")
    names = objects["object_id"].to_pylist() + quarantine["object_id"].to_pylist()
    assert sorted(names) == config.archive.list_spectra()["object_id"].to_pylist()
    assert "The ten strongest anomalies" in capsys.readouterr().out
    _, run = find_run(config)
    assert "batches of" in " ".join(read_json(run_url(root, run) + "/run.json")["adaptations"])
    assert (Path(run_url(root, run)) / "report" / "index.html").stat().st_size > 100_000


@pytest.mark.slow  # the small demo has one model, and tests of train_ensemble replace the trainings
def test_classes_are_a_consensus_of_two_models(tmp_path, local_ray):
    """The second model has the next seed, the same settings and snapshot, and is not promoted."""
    store, root = make_store(tmp_path, 100), str(tmp_path)
    clustering = ClusteringConfig(
        selection_rule="consensus", spaces=("latents",), k_min=2, k_max=2, covariance_types=("tied",),
        n_seeds=3, n_models=2, n_null_draws=0, n_actors=1,
    )  # fmt: skip
    training = TrainingConfig(learning_rate=1e-3, max_epochs=1)
    config = Config(root, "dja", DJA(), vae=SMALL_VAE, training=training, clustering=clustering)
    assert run_stages(config, ["train", "embed", "cluster"])
    record, tables = load_run(run_url(root, find_run(config)[1]))
    first, second = (read_model_record(model_url(root, name)) for name in record.model_ids)
    assert [*record.model_ids] == resolve_model_ids(config)
    assert first.model_id == record.model_id == read_promoted(root).model_id
    assert (second.seed, second.snapshot_id) == (first.seed + 1, store.snapshot_id)
    assert (second.vae, second.training) == (first.vae, first.training)
    assert second.weights_sha256 != first.weights_sha256
    sweep = tables["sweep"].to_pydict()
    assert list(zip(sweep["member"], sweep["model"], strict=True)) == [(0, 0), (2, 0), (1, 1)]
    assert sweep["stability"][2] == pytest.approx(np.mean(sweep["stability"][:2])), "between models"
    assert not run_stages(config, ["train", "embed", "cluster"])


@pytest.mark.parametrize("recipe", ["dja", "paper"])
def test_real_dja_files(recipe, dja_files, tmp_path, local_ray):
    """Every file of grade 3 at z > 4 becomes a row or is quarantined with a reason."""
    flags = ["--archive.catalog", str(dja_files / "catalog.csv"), "--archive.url", str(dja_files)]
    config = parse([recipe, "--root", str(tmp_path / recipe), *flags])
    run_stages(config, ["ingest"])
    store = open_store(store_url(config.root))
    quarantine = store.read_quarantine()
    rows = store.ledger(["object_id"]).take(store.current_rows())
    names = rows["object_id"].to_pylist() + quarantine["object_id"].to_pylist()
    assert len(names) == 56
    assert sorted(names) == config.archive.list_spectra()["object_id"].to_pylist()
    assert quarantine["reason"].to_pylist() == ["no_normalisation"]
    if recipe == "paper":
        median_z = np.median(config.archive.list_spectra()["z"].to_numpy())
        assert np.allclose(np.diff(store.config.grid.wave_rest), 3.0)
        assert store.config.grid.start == pytest.approx(7000 / (1 + median_z))


@pytest.mark.slow
def test_real_stars(spex_files, tmp_path, local_ray):
    flags = ["--archive.url", str(spex_files), "--training.max-epochs", "5", "--clustering.n-seeds", "2"]
    flags += ["--clustering.n-null-draws", "0", "--clustering.spaces", "features", "--clustering.k-max", "4"]
    config = parse(["spex", "--root", str(tmp_path / "spex"), *flags])
    run_stages(config, ALL)
    objects, quarantine = table(config, "objects"), table(config, "quarantine")
    assert len(objects) + len(quarantine) == 1331
    assert len(objects) > 1300
    assert set(objects["z"].to_pylist()) == {0.0}
    assert len(pc.unique(objects["source_id"])) < len(objects)
    assert set(quarantine["reason"].to_pylist()) == {"bad_table", "no_normalisation"}
    page = (Path(run_url(config.root, find_run(config)[1])) / "report" / "index.html").read_text()
    assert "ARI" in page, "the stars have known classes"


def test_a_single_spectrum_is_refused_with_the_remedy(dja_files, tmp_path, local_ray):
    flags = ["--archive.catalog", str(dja_files / "catalog.csv"), "--archive.url", str(dja_files)]
    config = parse(["dja", "--root", str(tmp_path / "one"), *flags, "--archive.z-min", "9.2"])
    run_stages(config, ["ingest"])
    assert open_store(store_url(config.root)).n_rows < 3
    with pytest.raises(TrainingError, match="training needs 2"):
        run_stages(config, ["train"])


@pytest.mark.slow
def test_three_spectra_reach_a_report(dja_files, tmp_path, local_ray):
    flags = ["--archive.catalog", str(dja_files / "catalog.csv"), "--archive.url", str(dja_files)]
    config = parse(
        [
            "dja",
            "--root",
            str(tmp_path / "few"),
            *flags,
            "--archive.z-min",
            "7.5",
            "--training.max-epochs",
            "3",
        ]
    )
    run_stages(config, ALL)
    assert 2 <= len(table(config, "objects")) <= 8


def test_repeated_tasks_are_in_the_result_of_their_stage(tmp_path, monkeypatch, local_ray):
    def repeat_tasks(context):
        pool.report_retries("a task", 2)
        return StageResult({"spectra": 7})

    root = str(tmp_path)
    pool.report_retries("a task of an earlier stage that failed", 1)
    for stage, counts in (
        (repeat_tasks, {"spectra": 7, "retried_tasks": 2}),
        (lambda _: StageResult({"spectra": 7}), {"spectra": 7}),
    ):
        monkeypatch.setattr(runner, "STAGES", {"ingest": stage})
        run_stages(parse(["demo", "--root", root]), ["ingest"])
        events = read_events(root, list_jobs(root)[-1].number)
        [payload] = [event.payload for event in events if event.event_type == "stage"]
        assert {name: payload[name] for name in payload if name in ("spectra", "retried_tasks")} == counts
        assert read_stage_record(root, "ingest").summary == counts


def test_a_full_disk_in_a_stage_names_the_root(tmp_path, monkeypatch, local_ray):
    def fail(context):
        raise OSError(errno.ENOSPC, "No space left on device")

    root = str(tmp_path)
    monkeypatch.setattr(runner, "STAGES", {"ingest": fail})
    with pytest.raises(StorageError, match=rf"^{root}: No space left on device: free some space"):
        run_stages(parse(["demo", "--root", root]), ["ingest"])
    [job] = list_jobs(root)
    assert job.status == "failed"
    assert job.error.startswith(f"StorageError: {root}: No space left")


def test_user_errors_end_in_one_line_with_a_status(tmp_path):
    command = [sys.executable, "-m", "jobs.train", "dja", "--root", str(tmp_path / "nothing")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("error: no store at")
    assert not (tmp_path / "nothing").exists()
