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

from distspec.core.records import sealed, tuples
from distspec.core.schema import describe_history
from distspec.core.spectrum import WaveGrid
from distspec.io.files import exists, get, get_json, get_table, put, put_json, put_table
from distspec.io.paths import join, model_url
from distspec.models.config import VAEConfig
from distspec.models.vae import SpectrumVAE

VOUCHED = {"weights_sha256": "weights.safetensors", "history_sha256": "history.parquet"}
"""What model.json vouches for."""


def save_model(
    url: str,
    vae: SpectrumVAE,
    weights: Mapping[str, Tensor],
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
    weights : mapping
        The state to keep: the best epoch's, not the last one's.
    history : pa.Table
        A row an epoch.
    record : mapping
        Its `origin`, and metrics.
    """
    content = save_safetensors({name: value.contiguous().cpu() for name, value in weights.items()})
    put(join(url, "weights.safetensors"), content)
    put_table(join(url, "history.parquet"), describe_history(history))
    vouched = {name: _sha256(get(join(url, file))) for name, file in VOUCHED.items()}
    made = {"sizes": vae.sizes, "vae": asdict(vae.config), **vouched}
    put_json(join(url, "model.json"), sealed({**record, **made}))


def has_model(url: str) -> bool:
    """Tell whether a whole model lies at `url`."""
    return exists(join(url, "model.json"))


def read_model(url: str) -> tuple[SpectrumVAE, dict[str, Any]]:
    """Return a model's network, ready to use, and its record; `distspec.models.model.load_model` wraps them.

    Raises
    ------
    FileNotFoundError
        When there is no whole model.
    ValueError
        When the weights are not those that model.json vouches for, or a newer distspec made them.
    """
    record = read_record(url)
    config, known = tuples(record["vae"]), {field.name for field in fields(VAEConfig)}
    if unknown := sorted(config.keys() - known):
        raise ValueError(
            f"{url}/model.json sets vae.{', vae.'.join(unknown)}, which this distspec does not "
            f"know: distspec {record['versions']['distspec']} made it, this is {version('distspec')}; upgrade"
        )
    vae = SpectrumVAE(record["sizes"], VAEConfig(**config), WaveGrid(**record["grid"]).wave_rest)
    vae.load_state_dict(load_safetensors(_vouched(url, record, "weights_sha256")))
    vae.eval()
    return vae, record


def read_record(url: str) -> dict[str, Any]:
    """Return what model.json says.

    Raises
    ------
    FileNotFoundError
        When there is no whole model.
    """
    if not has_model(url):
        raise FileNotFoundError(f"no model at {url}: name the folder that holds model.json, ROOT/models/<id>")
    return get_json(join(url, "model.json"))


def adopt(root: str, url: str) -> str:
    """Copy a model made elsewhere below this root, byte for byte, under its own name; return that name.

    Raises
    ------
    FileNotFoundError
        When there is no whole model at `url`.
    ValueError
        When its files are damaged, or there is another model of that name.
    """
    record = read_record(url)
    name = str(record["model_id"])
    mine = model_url(root, name)
    if has_model(mine):
        if get(join(mine, "model.json")) != get(join(url, "model.json")):
            raise ValueError(f"{mine} is another model of the name of {url}: use another --root")
        return name
    for vouched, file in VOUCHED.items():
        put(join(mine, file), _vouched(url, record, vouched))
    put(join(mine, "model.json"), get(join(url, "model.json")))
    return name


def _vouched(url: str, record: Mapping[str, Any], name: str) -> bytes:
    """Return a file of a model that is what its record vouches for."""
    content = get(join(url, VOUCHED[name]))
    if _sha256(content) != record[name]:
        raise ValueError(
            f"{url}/{VOUCHED[name]} is not what model.json vouches for: delete the folder and train again, "
            "or copy it again from where it came"
        )
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def load_history(url: str) -> pa.Table:
    """Return a model's training history, a row an epoch."""
    return get_table(join(url, "history.parquet"))
