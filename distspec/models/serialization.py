"""The files of a model: its weights, its learning curves, and the record that vouches for both.

ROOT/models/<id>/weights.safetensors, history.parquet, model.json
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, fields
from importlib.metadata import version
from typing import Any

import pyarrow as pa
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from distspec.core.records import add_checksum, lists_to_tuples
from distspec.core.schema import add_history_metadata
from distspec.core.spectrum import WavelengthGrid
from distspec.io.files import (
    read_bytes,
    read_json,
    read_table,
    url_exists,
    write_bytes,
    write_json,
    write_table,
)
from distspec.io.paths import join_url, model_url
from distspec.models.config import VAEConfig
from distspec.models.vae import SpectrumVAE

CHECKSUM_FILES = {"weights_sha256": "weights.safetensors", "history_sha256": "history.parquet"}
"""What model.json vouches for."""


def save_model(
    url: str,
    vae: SpectrumVAE,
    state_dict: Mapping[str, Tensor],
    history: pa.Table,
    record: Mapping[str, Any],
) -> None:
    """Write a model's folder; model.json comes last, so a folder that has one is whole.

    Parameters
    ----------
    url : str
        `distspec.io.paths.model_url`.
    vae : SpectrumVAE
        Gives the architecture.
    state_dict : mapping
        The state to keep: the best epoch's, not the last one's.
    history : pa.Table
        A row an epoch.
    record : mapping
        Its `origin`, and metrics.
    """
    content = save_safetensors({name: value.contiguous().cpu() for name, value in state_dict.items()})
    write_bytes(join_url(url, "weights.safetensors"), content)
    write_table(join_url(url, "history.parquet"), add_history_metadata(history))
    vouched = {name: _sha256(read_bytes(join_url(url, file))) for name, file in CHECKSUM_FILES.items()}
    made = {"sizes": vae.input_sizes, "vae": asdict(vae.config), **vouched}
    write_json(join_url(url, "model.json"), add_checksum({**record, **made}))


def has_model(url: str) -> bool:
    """Tell whether a whole model lies at `url`."""
    return url_exists(join_url(url, "model.json"))


def load_vae(url: str) -> tuple[SpectrumVAE, dict[str, Any]]:
    """Return a model's network, ready to use, and its record; `distspec.models.model.load_model` wraps them.

    Raises
    ------
    FileNotFoundError
        When there is no whole model.
    ValueError
        When the weights are not those that model.json vouches for, or a newer distspec made them.
    """
    record = read_model_record(url)
    config, known = lists_to_tuples(record["vae"]), {field.name for field in fields(VAEConfig)}
    if unknown := sorted(config.keys() - known):
        raise ValueError(
            f"{url}/model.json sets vae.{', vae.'.join(unknown)}, which this distspec does not "
            f"know: distspec {record['versions']['distspec']} made it, this is {version('distspec')}; upgrade"
        )
    vae = SpectrumVAE(record["sizes"], VAEConfig(**config), WavelengthGrid(**record["grid"]).wave_rest)
    vae.load_state_dict(load_safetensors(_read_verified(url, record, "weights_sha256")))
    vae.eval()
    return vae, record


def read_model_record(url: str) -> dict[str, Any]:
    """Return what model.json says.

    Raises
    ------
    FileNotFoundError
        When there is no whole model.
    """
    if not has_model(url):
        raise FileNotFoundError(f"no model at {url}: name the folder that holds model.json, ROOT/models/<id>")
    return read_json(join_url(url, "model.json"))


def import_model(root: str, url: str) -> str:
    """Copy a model made elsewhere below this root, byte for byte, under its own name; return that name.

    Raises
    ------
    FileNotFoundError
        When there is no whole model at `url`.
    ValueError
        When its files are damaged, or there is another model of that name.
    """
    record = read_model_record(url)
    name = str(record["model_id"])
    mine = model_url(root, name)
    if has_model(mine):
        if read_bytes(join_url(mine, "model.json")) != read_bytes(join_url(url, "model.json")):
            raise ValueError(f"{mine} is another model of the name of {url}: use another --root")
        return name
    for vouched, file in CHECKSUM_FILES.items():
        write_bytes(join_url(mine, file), _read_verified(url, record, vouched))
    write_bytes(join_url(mine, "model.json"), read_bytes(join_url(url, "model.json")))
    return name


def _read_verified(url: str, record: Mapping[str, Any], checksum_key: str) -> bytes:
    """Return a file of a model that is what its record vouches for."""
    content = read_bytes(join_url(url, CHECKSUM_FILES[checksum_key]))
    if _sha256(content) != record[checksum_key]:
        raise ValueError(
            f"{url}/{CHECKSUM_FILES[checksum_key]} is not what model.json vouches for: delete the folder and train again, "
            "or copy it again from where it came"
        )
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def load_history(url: str) -> pa.Table:
    """Return a model's training history, a row an epoch."""
    return read_table(join_url(url, "history.parquet"))
