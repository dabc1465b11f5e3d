"""Save, load and copy the files of a model: weights, training history, and the record."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from distspec.core.errors import ModelError
from distspec.core.schema import add_history_metadata
from distspec.io.files import read_bytes, read_table, write_bytes, write_table
from distspec.io.paths import join_url, model_url
from distspec.models.record import (
    CHECKSUM_FILES,
    HISTORY_FILE,
    RECORD_FILE,
    WEIGHTS_FILE,
    ModelRecord,
    has_model,
    read_model_record,
    write_model_record,
)
from distspec.models.vae import SpectrumVAE


def save_model(url: str, state_dict: Mapping[str, Tensor], history: pa.Table, record: ModelRecord) -> None:
    """Write the files of a model; the record comes last, so that a folder with a record is complete.

    Parameters
    ----------
    url : str
        Folder of the model, `distspec.io.paths.model_url`.
    state_dict : mapping of str to Tensor
        Weights and buffers, of the best epoch.
    history : pyarrow.Table
        Training history, one row per epoch.
    record : ModelRecord
        The record; the checksums of the files are filled in.
    """
    content = save_safetensors({name: value.contiguous().cpu() for name, value in state_dict.items()})
    write_bytes(join_url(url, WEIGHTS_FILE), content)
    write_table(join_url(url, HISTORY_FILE), add_history_metadata(history))
    checksums = {key: _sha256(read_bytes(join_url(url, file))) for key, file in CHECKSUM_FILES.items()}
    write_model_record(url, replace(record, **checksums))


def load_vae(url: str) -> tuple[SpectrumVAE, ModelRecord]:
    """Load the network of a model; `distspec.models.model.load_model` wraps it for use with NumPy.

    Parameters
    ----------
    url : str
        Folder of the model, ``ROOT/models/<id>``.

    Returns
    -------
    vae : SpectrumVAE
        The network, in evaluation mode.
    record : ModelRecord
        Its record.

    Raises
    ------
    NotFoundError
        If there is no complete model.
    ModelError
        If the weights are damaged, or another version of distspec made them.
    """
    record = read_model_record(url)
    vae = SpectrumVAE(record.input_sizes, record.vae, record.store_config.grid.wave_rest)
    vae.load_state_dict(load_safetensors(_read_verified(url, record, "weights_sha256")))
    vae.eval()
    return vae, record


def load_history(url: str) -> pa.Table:
    """Return the training history of a model, one row per epoch.

    Parameters
    ----------
    url : str
        Folder of the model.

    Returns
    -------
    pyarrow.Table
        Training history, one row per epoch.
    """
    return read_table(join_url(url, HISTORY_FILE))


def import_model(root: str, url: str) -> str:
    """Copy a model that was trained elsewhere into a root, byte for byte and under its own name.

    Parameters
    ----------
    root : str
        Root to copy the model to.
    url : str
        Folder of the model.

    Returns
    -------
    str
        Name of the model.

    Raises
    ------
    NotFoundError
        If there is no complete model at ``url``.
    ModelError
        If its files are damaged, or if the root holds another model of the same name.
    """
    record = read_model_record(url)
    target = model_url(root, record.model_id)
    if has_model(target):
        if read_bytes(join_url(target, RECORD_FILE)) != read_bytes(join_url(url, RECORD_FILE)):
            raise ModelError(f"{target} is not the model at {url} but has the same name: use another --root")
        return record.model_id
    for key, file in CHECKSUM_FILES.items():
        write_bytes(join_url(target, file), _read_verified(url, record, key))
    write_bytes(join_url(target, RECORD_FILE), read_bytes(join_url(url, RECORD_FILE)))
    return record.model_id


def _read_verified(url: str, record: ModelRecord, checksum_key: str) -> bytes:
    """Return the content of a file of a model after comparing it with its checksum."""
    file = CHECKSUM_FILES[checksum_key]
    content = read_bytes(join_url(url, file))
    if _sha256(content) != getattr(record, checksum_key):
        raise ModelError(
            f"{url}/{file} does not match its checksum in {RECORD_FILE}: delete the folder and train again, "
            "or copy the model again from its source"
        )
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
