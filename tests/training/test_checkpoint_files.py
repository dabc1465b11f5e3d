"""Only complete and undamaged checkpoints are used."""

import json
import logging
import shutil

import pytest
import torch

from distspec.io.files import list_files
from distspec.training.checkpoint_files import (
    delete_checkpoints,
    find_latest_checkpoint,
    find_problem,
    save_checkpoint,
)
from distspec.training.distributed import ProcessGroup
from distspec.training.state import TrainingProgress
from tests.helpers.seaweed import s3, seaweed  # noqa: F401

ALONE = ProcessGroup()


def tensors(step):
    return {"a": torch.full((5,), float(step)), "n": torch.tensor(step), "is": torch.tensor([True, False])}


def save(url, step):
    progress = TrainingProgress(step, step // 10)
    worker_tensors = {"random": torch.arange(4, dtype=torch.uint8)}
    save_checkpoint(url, progress, tensors(step), worker_tensors, ALONE)


def check(checkpoint, step):
    assert checkpoint is not None
    progress = checkpoint.record.progress
    assert (progress.step, progress.epoch, checkpoint.n_workers) == (step, step // 10, 1)
    shared = checkpoint.read_shared_tensors()
    assert all(torch.equal(shared[name], value) for name, value in tensors(step).items())
    assert checkpoint.read_worker_tensors(0)["random"].tolist() == [0, 1, 2, 3]


def test_newest_checkpoint_is_found_and_two_are_kept(tmp_path):
    url = str(tmp_path)
    assert find_latest_checkpoint(url, ALONE) is None
    for step in (10, 20, 30):
        save(url, step)
    check(find_latest_checkpoint(url, ALONE), 30)
    assert sorted({name.split("/")[0] for name in list_files(url)}) == ["0000000020", "0000000030"]
    delete_checkpoints(url)
    assert list_files(url) == []
    assert find_latest_checkpoint(url, ALONE) is None


def delete(path):
    path.unlink()


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip_last_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def truncate_to_nothing(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [delete, truncate, flip_last_bit, truncate_to_nothing])
@pytest.mark.parametrize("file", ["shared.safetensors", "worker-0.safetensors", "checkpoint.json"])
def test_damaged_checkpoint_is_skipped_with_a_warning(tmp_path, caplog, file, damage):
    url = str(tmp_path)
    for step in (10, 20):
        save(url, step)
    damage(tmp_path / "0000000020" / file)
    if file == "checkpoint.json" and damage is flip_last_bit:  # the last byte is the brace
        assert "cannot be read" in find_problem(f"{url}/0000000020")
    with caplog.at_level(logging.WARNING):
        check(find_latest_checkpoint(url, ALONE), 10)
    assert "0000000020 is skipped" in caplog.text
    # Training resumes at step 10 and reaches step 20 again.
    save(url, 20)
    check(find_latest_checkpoint(url, ALONE), 20)
    shutil.rmtree(tmp_path / "0000000010")
    damage(tmp_path / "0000000020" / file)
    assert find_latest_checkpoint(url, ALONE) is None


def test_checkpoint_of_another_format_or_of_later_steps_is_not_used(tmp_path, caplog):
    url = str(tmp_path)
    for step in (10, 20):
        save(url, step)
    record = tmp_path / "0000000020" / "checkpoint.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"format_version": 99}))
    with caplog.at_level(logging.WARNING):
        check(find_latest_checkpoint(url, ALONE), 10)
    assert "it has format 99" in caplog.text
    save(url, 15)  # a new checkpoint supersedes those of later steps
    check(find_latest_checkpoint(url, ALONE), 15)
    assert sorted({name.split("/")[0] for name in list_files(url)}) == ["0000000010", "0000000015"]


def test_checkpoints_in_a_bucket(s3):  # noqa: F811
    url = s3.url("models/m/checkpoints")
    for step in (10, 20, 30):
        save(url, step)
    check(find_latest_checkpoint(url, ALONE), 30)
    s3.put("models/m/checkpoints/0000000030/shared.safetensors", b"damaged")
    check(find_latest_checkpoint(url, ALONE), 20)
    delete_checkpoints(url)
    assert list_files(url) == []
