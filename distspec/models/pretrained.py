"""Trained models that the package contains, by name. Importing this module does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from distspec.models.record import read_model_record
from distspec.store.config import StoreConfig, describe_scale

PRETRAINED_MODELS: Mapping[str, str] = {
    "prism-simulated": str(files("distspec.models") / "weights" / "prism-simulated"),
}
"""Folders of the models; each has a card, ``README.md``, that says what it is."""
MIN_TRAINING_SPECTRA = 400
"""Number of training spectra below which posteriors are not calibrated and the error is 1.9 times that of the
pretrained model or more: see the guide to models."""


def find_pretrained_model(name_or_url: str) -> str:
    """Return the folder of a model that the package contains, or the given folder or URL.

    Parameters
    ----------
    name_or_url : str
        A name in `PRETRAINED_MODELS`, or the folder or bucket URL of a model.

    Returns
    -------
    str
    """
    return PRETRAINED_MODELS.get(name_or_url, name_or_url)


def describe_too_few(n_train: int, store_config: StoreConfig) -> str:
    """Return what to do instead of training if there are too few spectra; empty if there are enough.

    Parameters
    ----------
    n_train : int
        Number of spectra to train on.
    store_config : StoreConfig
        Grid and normalization of the spectra.

    Returns
    -------
    str
    """
    if n_train >= MIN_TRAINING_SPECTRA:
        return ""
    few = f"{n_train} spectra are too few to train a model on (fewer than {MIN_TRAINING_SPECTRA})"
    names = [
        name
        for name, url in PRETRAINED_MODELS.items()
        if describe_scale(read_model_record(url).store_config) == describe_scale(store_config)
    ]
    if not names:
        return (
            f"{few}, and the package contains no model of their grid: add spectra, or give a model of your "
            "own of the same grid with `--model`"
        )
    return (
        f"{few}: `--model {names[0]}` embeds and clusters them with a model that the package contains, and "
        f"`distspec predict --model {names[0]} FILES` describes single spectra, without training"
    )
