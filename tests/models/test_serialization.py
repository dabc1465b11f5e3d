import json
from pathlib import Path

import pytest
import torch

from distspec.core.schema import build_data_dictionary
from distspec.io.files import read_json
from distspec.io.paths import join_url, model_url
from distspec.models.serialization import (
    CHECKSUM_FILES,
    has_model,
    import_model,
    load_history,
    load_vae,
    read_model_record,
)
from distspec.store.store import StoreConfig, create_store
from tests.helpers import models


@pytest.fixture
def saved(small_store):
    root = small_store.url.removesuffix("/store")
    return root, models.save(small_store, root)


def alter(url: str, **changes) -> None:
    record = Path(url) / "model.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), **changes}))


def spoil(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))


def test_a_model_comes_back_as_it_was(saved, small_store, tmp_path):
    _, url = saved
    one, record = load_vae(url)
    assert one.config == models.SMALL
    assert not one.training
    assert record["metrics"] == {"best_epoch": 0, "val_recon": 2.0}
    two, _ = load_vae(models.save(small_store, str(tmp_path / "again")))
    assert one.state_dict().keys() == two.state_dict().keys()
    assert all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())


def test_the_record_says_what_the_model_can_be_used_on(saved, small_store):
    _, url = saved
    record, frozen = read_model_record(url), small_store.config
    assert record["grid"] == frozen.grid.to_dict()
    assert record["normalisation"]["reference"] == frozen.reference_wave
    assert record["normalisation"]["sample_slope"] == frozen.default_slope
    assert record["normalisation"]["settings"] == dict(frozen.preprocessing)
    assert record["snapshot_id"] == small_store.snapshot_id
    assert record["data_digest"] == small_store.dataset_checksum()
    assert {"vae", "training", "seed", "metrics", "versions", *CHECKSUM_FILES} <= record.keys()


def test_learning_curves_say_what_they_are(saved):
    rows = {row["column"]: row for row in build_data_dictionary(load_history(saved[1]).schema).to_pylist()}
    assert rows["seconds"]["unit"] == "s"
    assert rows["val_recon"]["description"] == "recon: mean a spectrum of those held out"


def test_altered_weights_are_refused(saved):
    spoil(Path(saved[1]) / "weights.safetensors")
    with pytest.raises(ValueError, match=r"weights\.safetensors is not what model\.json vouches for"):
        load_vae(saved[1])


def test_a_setting_that_a_newer_distspec_made_is_named(saved):
    _, url = saved
    record = read_json(join_url(url, "model.json"))
    alter(url, vae={**record["vae"], "warp": 9}, versions={"distspec": "7.1"})
    with pytest.raises(ValueError, match=r"sets vae\.warp.*distspec 7\.1 made it"):
        load_vae(url)


def test_a_folder_without_its_record_is_no_model(saved):
    (Path(saved[1]) / "model.json").unlink()
    assert not has_model(saved[1])
    with pytest.raises(FileNotFoundError, match="ROOT/models"):
        load_vae(saved[1])


def test_an_adopted_model_is_the_same_files(saved, tmp_path):
    _, url = saved
    other = str(tmp_path / "other")
    assert import_model(other, url) == import_model(other, url) == "m-1"
    for file in ("model.json", *CHECKSUM_FILES.values()):
        assert Path(model_url(other, "m-1"), file).read_bytes() == Path(url, file).read_bytes()
    assert import_model(saved[0], url) == "m-1", "one that lies there already is left"


@pytest.mark.parametrize("file", CHECKSUM_FILES.values())
def test_a_damaged_model_is_not_adopted(saved, tmp_path, file):
    spoil(Path(saved[1]) / file)
    with pytest.raises(ValueError, match=file):
        import_model(str(tmp_path / "other"), saved[1])
    assert not has_model(model_url(str(tmp_path / "other"), "m-1"))


def test_another_model_of_the_same_name_is_refused(saved, tmp_path, small_grid):
    other = str(tmp_path / "other")
    models.save(create_store(join_url(other, "store"), StoreConfig(small_grid, 1500.0, -2.0)), other, seed=1)
    with pytest.raises(ValueError, match="another model of the name"):
        import_model(other, saved[1])
