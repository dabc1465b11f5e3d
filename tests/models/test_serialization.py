"""The files of a model: round trip, checksums, format versions and copies."""

import json
from pathlib import Path

import pytest
import torch

from distspec.core.errors import ModelError, NotFoundError
from distspec.core.records import has_valid_checksum
from distspec.core.schema import build_data_dictionary
from distspec.io.files import read_json
from distspec.io.paths import join_url, model_url
from distspec.models.record import CHECKSUM_FILES, MODEL_FORMAT_VERSION, has_model, read_model_record
from distspec.models.serialization import import_model, load_history, load_vae
from distspec.store.config import StoreConfig
from distspec.store.store import create_store
from tests.helpers import models


@pytest.fixture
def saved(small_store):
    """Root of a small store with a model, and the model's folder."""
    root = small_store.url.removesuffix("/store")
    return root, models.save(small_store, root)


def change_record(url: str, **changes) -> None:
    path = Path(url) / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def flip_last_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def test_loaded_model_equals_the_saved_one(saved, small_store, tmp_path):
    _, url = saved
    vae, record = load_vae(url)
    assert vae.config == models.SMALL
    assert not vae.training
    assert (record.metrics.best_epoch, record.metrics.val_recon) == (0, 2.0)
    again, _ = load_vae(models.save(small_store, str(tmp_path / "again")))
    assert vae.state_dict().keys() == again.state_dict().keys()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in vae.state_dict().items())


def test_record_holds_the_origin_of_the_model(saved, small_store):
    _, url = saved
    record = read_model_record(url)
    assert record.store_config == small_store.config
    assert record.snapshot_id == small_store.snapshot_id
    assert record.dataset_checksum == small_store.dataset_checksum()
    assert record.vae == models.SMALL
    assert record.format_version == MODEL_FORMAT_VERSION
    assert record.training["batch_size"] == 64
    assert has_valid_checksum(read_json(join_url(url, "model.json")))


def test_history_columns_are_described(saved):
    rows = {row["column"]: row for row in build_data_dictionary(load_history(saved[1]).schema).to_pylist()}
    assert rows["seconds"]["unit"] == "s"
    assert rows["val_recon"]["description"]


def test_damaged_weights_are_refused(saved):
    flip_last_bit(Path(saved[1]) / "weights.safetensors")
    with pytest.raises(ModelError, match=r"weights\.safetensors does not match its checksum in model\.json"):
        load_vae(saved[1])


def test_unknown_setting_of_a_newer_version_is_named(saved):
    _, url = saved
    record = read_json(join_url(url, "model.json"))
    change_record(url, vae={**record["vae"], "warp": 9}, versions={"distspec": "7.1"})
    with pytest.raises(ModelError, match=r"settings vae\.warp.*by distspec 7\.1"):
        load_vae(url)


def test_model_of_another_format_is_refused(saved):
    _, url = saved
    change_record(url, format_version=1)
    with pytest.raises(ModelError, match=r"has format 1, .* under a new --root"):
        load_vae(url)


def test_folder_without_record_is_no_model(saved):
    (Path(saved[1]) / "model.json").unlink()
    assert not has_model(saved[1])
    with pytest.raises(NotFoundError, match="ROOT/models"):
        load_vae(saved[1])


def test_imported_model_has_the_same_files(saved, tmp_path):
    root, url = saved
    other = str(tmp_path / "other")
    assert import_model(other, url) == import_model(other, url) == "m-1"
    for file in ("model.json", *CHECKSUM_FILES.values()):
        assert Path(model_url(other, "m-1"), file).read_bytes() == Path(url, file).read_bytes()
    assert import_model(root, url) == "m-1", "importing a model that is already there changes nothing"


@pytest.mark.parametrize("file", CHECKSUM_FILES.values())
def test_damaged_model_is_not_imported(saved, tmp_path, file):
    flip_last_bit(Path(saved[1]) / file)
    with pytest.raises(ModelError, match=file):
        import_model(str(tmp_path / "other"), saved[1])
    assert not has_model(model_url(str(tmp_path / "other"), "m-1"))


def test_another_model_of_the_same_name_is_refused(saved, tmp_path, small_grid):
    other = str(tmp_path / "other")
    models.save(create_store(join_url(other, "store"), StoreConfig(small_grid, 1500.0, -2.0)), other, seed=1)
    with pytest.raises(ModelError, match="has the same name"):
        import_model(other, saved[1])
