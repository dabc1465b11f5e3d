"""The Python API of a project, as used in notebooks."""

from __future__ import annotations

import errno
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from astropy import units

import distspec
from distspec.catalog import editions
from distspec.cli.main import VERBS
from distspec.labels.annotations import read_annotations
from distspec.models.model import load_model
from distspec.project.project import Project
from distspec.project.tables import QueryResult


@pytest.fixture
def project(run, tables) -> Project:
    """A project with sixty spectra in three classes."""
    url, store, _ = run
    editions.publish(url, tables, "r-1", store.snapshot_id, {})
    return distspec.open(url)


def test_import_is_light():
    code = (
        "import sys, time; start = time.perf_counter(); import distspec; "
        "seconds = time.perf_counter() - start; "
        "heavy = {'ray', 'torch', 'matplotlib', 'numpy', 'pyarrow'} & set(sys.modules); "
        "import json; print(json.dumps([seconds, sorted(heavy)]))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, heavy = json.loads(ended.stdout)
    assert heavy == []
    assert seconds < 0.3


def test_opening_and_querying_imports_neither_ray_nor_torch_nor_matplotlib(project):
    code = (
        "import sys; import distspec; project = distspec.open(sys.argv[1]); "
        "project.query('SELECT * FROM classes').to_astropy(); project.status(); project._repr_html_(); "
        "print(sorted({'ray', 'torch', 'matplotlib'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, project.root]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_every_public_name_exists():
    assert {name for name in distspec.__all__ if getattr(distspec, name) is None} == set()
    assert issubclass(distspec.ConfigError, distspec.DistspecError)
    with pytest.raises(AttributeError, match="nothing"):
        distspec.nothing  # noqa: B018


def test_every_verb_on_a_root_is_a_method():
    assert {name for name in VERBS if not hasattr(Project, name.replace("-", "_"))} == {"plan", "describe"}


def test_a_query_has_units_in_every_form(project):
    result = project.query(
        "SELECT object_id, ra, norm, z AS redshift FROM objects ORDER BY object_id LIMIT 3"
    )
    assert len(result) == 3
    assert isinstance(result.to_arrow(), pa.Table)
    assert isinstance(result.to_pandas(), pd.DataFrame)
    table = result.to_astropy()
    assert table["ra"].unit == units.deg
    assert table["norm"].unit == units.Unit("erg s-1 cm-2 Angstrom-1")
    assert "Right ascension" in table["ra"].description or "right ascension" in table["ra"].description
    assert table["redshift"].unit is None
    assert "<table>" in result._repr_html_()
    assert "3 rows × 4 columns" in repr(result)


def test_nulls_are_masked_in_astropy_tables():
    values = {"n": [1, None], "name": [None, "a"], "x": [None, 2.0], "items": [["a"], None]}
    table = QueryResult(pa.table(values)).to_astropy()
    assert [bool(np.ma.is_masked(table[name][i])) for name, i in (("n", 1), ("name", 0), ("x", 0))] == [
        True
    ] * 3
    assert table["n"][0] == 1
    assert table["name"][1] == "a"
    assert table["items"][0] == ["a"]


def test_lists_of_one_length_are_lists_in_astropy_tables():
    values = {"items": [["a", "b"], ["c", "d"]], "numbers": [[1, 2], [3, 4]]}
    table = QueryResult(pa.table(values)).to_astropy()
    assert {name: [list(row) for row in table[name]] for name in table.colnames} == values


def test_tables_are_read_when_they_are_needed(project):
    objects = project.tables["objects"]
    assert len(objects) == 60
    assert "z" in objects.columns
    assert objects.to_arrow(["object_id", "z"]).column_names == ["object_id", "z"]
    assert "unit" in objects.describe().columns
    assert "60" in objects._repr_html_()
    assert set(project.columns()) == set(project.tables)


def test_a_spectrum_has_its_reconstruction_and_measurements(project):
    spectrum = project.spectrum("o0007")
    row = project.query("SELECT * FROM objects WHERE object_id = 'o0007'").to_arrow().to_pylist()[0]
    assert spectrum.z == row["z"]
    assert len(spectrum.wave) == len(spectrum.flux) == len(spectrum.ivar) == len(spectrum.reconstruction)
    store = project.store()
    flux, ivar = store.read_spectra(np.array([row["store_row"]]))
    assert np.array_equal(spectrum.flux, flux[0])
    assert np.array_equal(spectrum.ivar, ivar[0])
    latents = np.array([[row[f"z_mean_{i:02d}"] for i in range(3)]], np.float32)
    decoded = load_model(f"{project.root}/models/m-1").decode(latents, row["z"])[0]
    assert np.allclose(spectrum.reconstruction, row["amplitude"] * decoded)
    assert set(spectrum.measurements) <= set(row)
    assert "o0007" in repr(spectrum)
    with pytest.raises(distspec.CatalogError, match="no spectrum 'o9999'"):
        project.spectrum("o9999")


def test_a_spectrum_is_plotted(project):
    import matplotlib as mpl

    mpl.use("agg")
    axes = project.spectrum("o0007").plot()
    assert "o0007" in axes.get_title()
    assert len(axes.lines) == 2


def test_a_spectrum_is_converted_to_specutils(project, monkeypatch):
    spectrum = project.spectrum("o0007")
    try:
        import specutils  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match="pip install specutils"):
            spectrum.to_specutils()
        return
    converted = spectrum.to_specutils()
    assert converted.spectral_axis.unit == units.Angstrom
    assert np.allclose(converted.flux.value, spectrum.flux * spectrum.norm)


def test_the_model_is_that_of_the_current_edition(project):
    assert project.model.model_id == "m-1"


def test_neighbors_of_a_spectrum(project):
    found = project.similar("o0007", n=4)
    assert len(found) == 4
    assert "ln_bayes_factor" in found.columns


def test_labels_are_given_counted_and_remembered(project, tmp_path):
    assert project.label("o0007", "LRD", user="ann", note="sure") == 1
    project.label(["o0007", "o0008"], "quasar", user="bob")
    with pytest.raises(distspec.LabelError, match="holds no spectrum o9999"):
        project.label("o9999", "LRD")
    found = project.labels()
    assert found.tied.to_arrow()["object_id"].to_pylist() == ["o0007"]
    assert found.counts.to_arrow().to_pylist() == [{"human_label": "quasar", "n_spectra": 1, "n_people": 1}]
    assert len(project.label_history()) == 3
    file = tmp_path / "labels.csv"
    file.write_text("object_id,human_label\no0009,LRD\n")
    assert len(project.import_labels(str(file)).annotations) == 1
    assert project.compact_labels() == 4
    assert len(read_annotations(project.root)) == 4


def test_marks_change_the_ranks(project):
    before = project.rerank()
    assert len(before) == 60
    assert set(before.to_arrow()["mark"].to_pylist()) == {""}


def test_state_history_and_integrity(project):
    status = project.status()
    assert status.store is not None
    assert status.store.n_current == 60
    assert "60 current spectra" in str(status)
    assert project.history() == []
    assert project.rollback("m-1", user="ann") is not None
    assert [job.operation for job in project.history()] == ["rollback"]
    assert project.unpin("ann") == "m-1"
    assert project.verify().problems == ()
    assert project.provenance("o0007").row.object_id == "o0007"
    assert len(project.runs()) == 1
    assert len(project.quarantine()) == 0
    project.tag("release-1")
    assert "release-1" in " ".join(project.snapshots().to_arrow()["tags"].to_pylist())
    project.gc(keep_days=30.0)
    with pytest.raises(distspec.ConfigError, match="negative"):
        project.gc(keep_days=-1.0)


def test_a_notebook_shows_classes_and_a_map(project):
    text = project._repr_html_()
    assert text.count("<circle") == 60
    assert "c-0001" in text
    assert "60 current spectra" in text


def test_an_export_to_a_full_disk_names_the_folder(project, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("zarr.create_group", fail)
    with pytest.raises(distspec.DistspecError, match=rf"^{tmp_path}/copy: No space left .*free some space"):
        project.export(f"{tmp_path}/copy")


def test_an_empty_root_is_shown_and_refused(tmp_path):
    project = distspec.open(tmp_path)
    assert repr(project) == f"<Project {tmp_path}>"
    assert "none: run `distspec run RECIPE" in project._repr_html_()
    with pytest.raises(distspec.NotFoundError, match="distspec run"):
        _ = project.tables
    with pytest.raises(distspec.NotFoundError, match="distspec run"):
        _ = project.model


def test_impossible_runs_are_refused(tmp_path):
    with pytest.raises(distspec.ConfigError, match="there is no recipe"):
        distspec.run("djb", tmp_path)
    with pytest.raises(distspec.ConfigError, match="there is no stage"):
        distspec.run("demo", tmp_path, stages=["ingets"])
    with pytest.raises(distspec.ConfigError, match="there is no setting"):
        distspec.run("demo", tmp_path, clustering={"n_sedes": 5})


def test_a_stage_runs_from_python(tmp_path, local_ray):
    project = distspec.run("demo", tmp_path, stages=["simulate"], simulation={"n_spectra": 12})
    assert (tmp_path / "archive" / "catalog.csv").is_file()
    assert [job.operation for job in project.history()] == ["simulate"]
