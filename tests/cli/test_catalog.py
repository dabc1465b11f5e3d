import json
import sys

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from distspec.cli.main import main
from tests.helpers.published import published


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return str(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def made(root):
    return {name: table.to_pandas() for name, table in published(root).items()}


def distspec(monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", ["distspec", *args])
    main()


def test_answers_go_to_files(root, made, tmp_path, monkeypatch, capfd):
    sql = "SELECT object_id, anomaly_rank FROM objects ORDER BY anomaly_rank LIMIT 5"
    ids = made["objects"].sort_values("anomaly_rank").object_id[:5].tolist()
    for form in ("csv", "json", "parquet"):
        distspec(monkeypatch, "query", sql, "--root", root, "--to", str(tmp_path / f"a.{form}"))
    assert pyarrow.csv.read_csv(tmp_path / "a.csv")["object_id"].to_pylist() == ids
    assert [row["object_id"] for row in json.loads((tmp_path / "a.json").read_text())] == ids
    assert pq.read_table(tmp_path / "a.parquet")["object_id"].to_pylist() == ids
    capfd.readouterr()
    distspec(monkeypatch, "query", sql, "--root", root, "--run", "r-made")
    printed = capfd.readouterr().out
    assert all(name in printed for name in ids)
    for args, words in ((["--format", "parquet"], "name a file with --to"), (["--to", "a.fits"], "--format")):
        with pytest.raises(SystemExit, match=words):
            distspec(monkeypatch, "query", sql, "--root", root, *args)


def test_runs_are_listed(root, made, monkeypatch, capsys):
    distspec(monkeypatch, "runs", "--root", root)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].split()[:3] == ["*", "1", "r-made"]
