import json
from pathlib import Path

import numpy as np
import pytest

from distspec.archives.dja import CANUCS_URL, DJA, PUBLIC_URL
from distspec.archives.spex import SpeX
from distspec.clustering.null_tests import MIN_TAIL_DRAWS
from distspec.core.errors import ConfigError
from distspec.ingest.source import ArchiveSource, read_source, write_source
from distspec.models.config import VAEConfig
from distspec.pipeline.recipes import RECIPES, make_config, parse
from distspec.training.config import TrainingConfig


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_needs_only_a_root(recipe, tmp_path):
    config = parse([recipe, "--root", str(tmp_path / "r")])
    assert config.recipe == recipe
    assert config.root == str(tmp_path / "r")
    assert json.loads(json.dumps(config.to_dict()))["recipe"] == recipe


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_tests_classes_against_null_data(recipe):
    """Five draws are the fewest to which a tail is fitted."""
    assert RECIPES[recipe]("/r").clustering.n_null_draws >= MIN_TAIL_DRAWS


def test_recipe_paper_has_the_published_settings():
    config = parse(["paper", "--root", "/r"])
    assert config.archive == DJA()
    assert (config.archive.grating, config.archive.grades, config.archive.z_min) == ("PRISM", (3,), 4.0)
    assert config.archive.url == (PUBLIC_URL, CANUCS_URL)
    grid = config.grid
    assert (grid.spacing, grid.step, grid.start, grid.stop, grid.frame) == (
        "uniform",
        3.0,
        7000.0,
        55000.0,
        "observed",
    )
    assert config.norm.reference_wave == 1500.0
    assert config.vae == VAEConfig()
    assert config.training == TrainingConfig()
    assert (config.clustering.k_min, config.clustering.k_max, config.clustering.n_seeds) == (5, 15, 100)
    assert config.simulation is None


def test_recipe_learnspec_differs_from_paper_as_documented():
    paper, learnspec = (parse([recipe, "--root", "/r"]) for recipe in ("paper", "learnspec"))
    assert (learnspec.archive, learnspec.grid, learnspec.norm) == (paper.archive, paper.grid, paper.norm)
    assert learnspec.vae == VAEConfig(
        hidden_layer="scale", dropout=(0.0,) * 4, l2=0.0, glorot_init=True, smooth_spectra=True
    )
    assert learnspec.training == TrainingConfig(clip_each_gradient=True)
    assert (learnspec.clustering.umap_n_neighbors, learnspec.clustering.umap_min_dist) == ((5,), 0.0)


def test_recipe_spex_normalizes_at_1_28_micron():
    config = parse(["spex", "--root", "/r", "--archive.url", "/data/spex"])
    assert config.archive == SpeX(url="/data/spex")
    assert config.norm.windows[0] == (12600.0, 13000.0)


def test_every_setting_is_an_argument():
    config = parse(
        ["dja", "--root", "/r", "--seed", "3", "--archive.catalog", "c.csv", "--archive.url", "s3://bucket/x",
         "--archive.grades", "3", "2", "--training.workers", "2", "--vae.n-latents", "8",
         "--clustering.n-seeds", "5", "--grid.n-pixels", "320", "--training.use-gpu", "False"]
    )  # fmt: skip
    assert config.seed == 3
    assert (config.archive.catalog, config.archive.url, config.archive.grades) == (
        str(Path("c.csv").resolve()),  # workers run in other folders
        "s3://bucket/x",
        (3, 2),
    )
    assert (config.training.workers, config.training.use_gpu) == (2, False)
    assert (config.vae.n_latents, config.clustering.n_seeds, config.grid.n_pixels) == (8, 5, 320)


def test_relative_paths_become_absolute(tmp_path, monkeypatch):
    """Workers and later commands run in other folders; URLs and absolute paths stay as they are."""
    monkeypatch.chdir(tmp_path)
    paths = ["--archive.catalog", "c.csv", "--archive.bulk", "b/all.fits", "--archive.truth-table", "/t.csv"]
    archive = parse(["dja", "--root", "out", *paths]).archive
    assert (archive.catalog, archive.bulk) == (f"{tmp_path}/c.csv", f"{tmp_path}/b/all.fits")
    assert (archive.url, archive.truth_table) == (f"file://{tmp_path}/b", "/t.csv")


def test_an_archive_may_be_in_several_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = ["--archive.url", "a b", "s3://bucket/x", "--archive.z-min", "5"]
    archive = parse(["dja", "--root", "out", *places]).archive
    assert archive.url == (f"{tmp_path}/a b", "s3://bucket/x")
    write_source(str(tmp_path / "out"), ArchiveSource(archive))
    assert read_source(str(tmp_path / "out")).archive == archive
    with pytest.raises(ConfigError, match=r"archive\.url holds a password"):
        parse(["dja", "--root", "out", "--archive.url", "a", "https://ann:wolke7@example.org"])


def test_a_simulated_archive_becomes_the_archive(tmp_path):
    config = parse(["demo", "--root", str(tmp_path), "--simulation.n-spectra", "99"])
    assert config.simulation.n_spectra == 99
    assert config.archive.url == f"{tmp_path}/archive"
    assert config.archive.catalog == f"{tmp_path}/archive/catalog.csv"
    assert config.archive.truth_table == f"{tmp_path}/archive/truth.parquet"


def test_roots_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse(["dja", "--root", "out/x/"]).root == str(tmp_path / "out" / "x")
    assert parse(["dja", "--root", "a folder/with #signs"]).root == str(tmp_path / "a folder" / "with #signs")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse(["dja", "--root", "~/x"]).root == str(tmp_path / "x")
    assert parse(["dja", "--root", "s3://bucket/x/"]).root == "s3://bucket/x"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--training.workers", "40"], "batch norm needs 2 spectra per worker"),
        (["--vae.dropout", "0.2"], "dropout"),
        (["--archive.z-min", "30"], "z-min"),
        (["--root", ""], "root is empty"),
    ],
)
def test_settings_out_of_range_are_refused_with_the_remedy(flags, message):
    with pytest.raises(ConfigError, match=message):
        parse(["dja", "--root", "/r", *flags])


@pytest.mark.parametrize(
    ("flags", "message"),
    [(["--trainning.workers", "2"], "nrecognized"), (["--training.workers", "two"], "two")],
)
def test_wrong_arguments_end_with_status_2(flags, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(["dja", "--root", "/r", *flags])
    assert stopped.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_an_unknown_recipe_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match="no recipe 'demmo': did you mean demo"):
        parse(["demmo", "--root", "/r"])


def test_a_root_is_required(capsys):
    with pytest.raises(SystemExit):
        parse(["dja"])
    assert "--root" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "url"),
    [
        ("--archive.url", "https://ann:wolke7@archive.example.org/x"),
        ("--archive.catalog", "https://archive.example.org/c.csv?a=1&X-Amz-Signature=wolke7"),
        ("--storage.endpoint-url", "http://ann:wolke7@minio:9000"),
        ("--pretrained-model", "https://example.org/m?sig=wolke7"),
    ],
)
def test_settings_with_secrets_are_refused(flag, url):
    """Settings are written into archive.json, run.json and the ledger."""
    with pytest.raises(ConfigError, match="holds a password or a signature") as refused:
        parse(["dja", "--root", "/r", flag, url])
    assert flag.replace("-", "_").strip("_") in str(refused.value).replace("-", "_")
    assert "wolke7" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["https://example.org/a@b:c/d", "s3://bucket/x?y=sig", "https://ann@example.org"]
)
def test_urls_without_secrets_are_accepted(url):
    assert parse(["dja", "--root", "/r", "--archive.url", url]).archive.url == url


def test_settings_in_python_are_nested_or_dotted():
    nested = make_config("dja", "/r", {"clustering": {"n_seeds": 5}, "seed": 3})
    dotted = make_config("dja", "/r", {"clustering.n_seeds": np.int64(5), "seed": 3})
    assert nested == dotted == parse(["dja", "--root", "/r", "--clustering.n-seeds", "5", "--seed", "3"])


def test_settings_in_python_take_lists_numbers_and_groups():
    config = make_config("demo", "/r", {"vae": {"dropout": [0, 0, 0, 0]}, "archive": {"grades": [3, 2]}})
    assert config.vae.dropout == (0.0, 0.0, 0.0, 0.0)
    assert isinstance(config.vae.dropout[0], float)
    assert config.archive.grades == (3, 2)
    assert make_config("dja", "/r", {"simulation": {"n_spectra": 40}}).simulation.n_spectra == 40
    assert make_config("dja", "/r", {"archive": SpeX()}).archive == SpeX()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clustering.n_sedes": 5}, "there is no setting clustering.n_sedes: did you mean n_seeds"),
        ({"clustering": 5}, "clustering = 5 has the wrong type"),
        ({"training": {"workers": "two"}}, "training.workers = 'two' has the wrong type"),
        ({"training": {"workers": True}}, "has the wrong type"),
        ({"seed": -1}, "negative"),
    ],
)
def test_wrong_settings_in_python_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_config("dja", "/r", settings)


def test_an_unknown_recipe_is_refused():
    with pytest.raises(ConfigError, match="there is no recipe djb: choose one of demo"):
        make_config("djb", "/r")
