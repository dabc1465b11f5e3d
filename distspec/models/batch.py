"""Batches of spectra as tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from distspec.models.config import SPECTRUM_KEY


class ModelInput(NamedTuple):
    """One named input of a batch, in linear units.

    Attributes
    ----------
    value : Tensor of shape (n_spectra, n_pixels)
        Flux density [f_λ / f_λ(reference)]; ignored where ``ivar`` is 0.
    ivar : Tensor of shape (n_spectra, n_pixels)
        Inverse variance of ``value``; 0 where masked.
    """

    value: Tensor
    ivar: Tensor


@dataclass(frozen=True)
class Batch:
    """Objects to train on or to embed.

    Attributes
    ----------
    inputs : mapping of str to ModelInput
        The named inputs; ``"spectrum"`` is always among them.
    z : Tensor of shape (n_spectra,)
        Redshifts.
    """

    inputs: Mapping[str, ModelInput]
    z: Tensor

    @classmethod
    def from_spectra(cls, flux: Tensor, ivar: Tensor, z: Tensor) -> Batch:
        """Build a batch whose only input is the spectrum.

        Parameters
        ----------
        flux, ivar : Tensor of shape (n_spectra, n_pixels)
            Flux density [f_λ / f_λ(reference)] and its inverse variance, 0 where masked.
        z : Tensor of shape (n_spectra,)
            Redshifts.

        Returns
        -------
        Batch
        """
        return cls({SPECTRUM_KEY: ModelInput(flux, ivar)}, z)

    @property
    def spectrum(self) -> ModelInput:
        """The input that holds the spectra."""
        return self.inputs[SPECTRUM_KEY]

    def __len__(self) -> int:
        return len(self.z)

    def __getitem__(self, rows: Any) -> Batch:
        """Return the objects selected by a slice, indices or a boolean mask."""
        inputs = {name: ModelInput(m.value[rows], m.ivar[rows]) for name, m in self.inputs.items()}
        return Batch(inputs, self.z[rows])

    def to(self, device: Any) -> Batch:
        """Return the batch on a device.

        Parameters
        ----------
        device : torch.device or str
            The device.

        Returns
        -------
        Batch
            A batch with all tensors on the device.
        """
        inputs = {
            name: ModelInput(*(t.to(device, non_blocking=True) for t in m)) for name, m in self.inputs.items()
        }
        return Batch(inputs, self.z.to(device, non_blocking=True))

    def join(self, names: Iterable[str]) -> JoinedInputs:
        """Concatenate the named inputs along the pixel axis, with masked values set to 0.

        Parameters
        ----------
        names : iterable of str
            Names of inputs, in the order of the result.

        Returns
        -------
        JoinedInputs
        """
        parts = [self.inputs[name] for name in names]
        value, ivar = (torch.cat([part[k] for part in parts], dim=1) for k in (0, 1))
        return JoinedInputs(torch.where(ivar > 0, value, 0.0), ivar, self.z)


class JoinedInputs(NamedTuple):
    """All inputs of a batch, concatenated along the pixel axis.

    Attributes
    ----------
    value, ivar : Tensor of shape (n_spectra, n_values)
        Linear values, 0 where masked, and their inverse variance.
    z : Tensor of shape (n_spectra,)
        Redshifts.
    """

    value: Tensor
    ivar: Tensor
    z: Tensor

    def concatenate(self, others: JoinedInputs) -> JoinedInputs:
        """Return these objects followed by others.

        Parameters
        ----------
        others : JoinedInputs
            Objects with the same n_values.
        """
        return JoinedInputs(*(torch.cat(pair) for pair in zip(self, others, strict=True)))
