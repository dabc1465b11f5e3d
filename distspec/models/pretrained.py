"""Trained models that the package contains, by name. Importing this module does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

PRETRAINED_MODELS: Mapping[str, str] = {
    "prism-simulated": str(files("distspec.models") / "weights" / "prism-simulated"),
}
"""Folders of the models; each has a card, ``README.md``, that says what it is."""


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
