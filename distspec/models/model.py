"""Use a trained model from NumPy: preprocess, encode, decode, reconstruct and sample spectra."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from distspec.core.errors import ConfigError, InvalidSpectrumError, ModelError
from distspec.core.records import lists_to_tuples
from distspec.core.spectrum import Floats, Floats32, Spectrum, SpectrumBatch, WavelengthGrid
from distspec.models.batch import Batch
from distspec.models.pretrained import find_pretrained_model
from distspec.models.record import ModelRecord
from distspec.models.serialization import load_vae
from distspec.models.vae import SpectrumVAE, decode_flux, embed
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.rest_frame import preprocess
from distspec.store.config import describe_scale
from distspec.store.store import Store

FORWARD_BATCH_SIZE = 1024
"""Rows of every forward pass, padded if there are fewer: a row's result then depends, bit for bit, on that
row and on its position in the pass, and never on the number of other rows."""


@dataclass(frozen=True)
class Model:
    """A trained variational autoencoder of spectra; `load_model` returns it.

    In all methods, ``flux`` is an array of shape (n_spectra, n_pixels) on the rest wavelengths `wave_rest`,
    in units of the spectrum's flux density at a reference wavelength (`preprocess` converts observed
    spectra); ``ivar`` is its inverse variance, 0 where masked; and ``z`` is one redshift or an array of shape
    (n_spectra,).

    Attributes
    ----------
    vae : SpectrumVAE
        The network.
    record : ModelRecord
        The record of the model, ``model.json``: settings, normalization, data, versions and metrics.
    device : str
        Torch device on which the network runs.

    Examples
    --------
    >>> import distspec, numpy as np
    >>> model = distspec.load_model("runs/demo/models/m-0123456789ab")  # doctest: +SKIP
    >>> spectrum = distspec.Spectrum("mine", wave, flux, ivar, unit, z)  # doctest: +SKIP
    >>> batch, rejected = model.preprocess([spectrum])  # doctest: +SKIP
    >>> z_mean, z_log_var = model.encode(batch.flux, batch.ivar, batch.z)  # doctest: +SKIP
    >>> reconstruction = model.reconstruct(batch.flux, batch.ivar, batch.z)  # doctest: +SKIP
    """

    vae: SpectrumVAE
    record: ModelRecord
    device: str = "cpu"

    @property
    def model_id(self) -> str:
        """Name of the model."""
        return self.record.model_id

    @property
    def grid(self) -> WavelengthGrid:
        """Rest-frame wavelength grid of the model's spectra."""
        return self.record.store_config.grid

    @property
    def wave_rest(self) -> Floats:
        """Rest wavelengths of the pixels, shape (n_pixels,) [Å, vacuum]."""
        return self.grid.wave_rest

    @property
    def n_latents(self) -> int:
        """Number of dimensions of the latent space."""
        return self.vae.config.n_latents

    def preprocess(
        self, spectra: Sequence[Spectrum]
    ) -> tuple[SpectrumBatch, list[tuple[int, InvalidSpectrumError]]]:
        """Shift, resample and normalize observed spectra to the grid and scale of the model.

        Parameters
        ----------
        spectra : sequence of Spectrum
            Observed spectra.

        Returns
        -------
        batch : SpectrumBatch
            The usable spectra; its ``flux``, ``ivar`` and ``z`` are the inputs of the other methods.
        rejected : list of (int, InvalidSpectrumError)
            Position in ``spectra`` and reason of every other spectrum.
        """
        config = self.record.store_config
        norm = NormConfig(**lists_to_tuples(config.preprocessing.get("norm", {})))
        return preprocess(spectra, self.grid, norm, float(config.default_slope))

    def encode(self, flux: ArrayLike, ivar: ArrayLike, z: ArrayLike) -> tuple[Floats32, Floats32]:
        """Compute the posteriors of spectra.

        Parameters
        ----------
        flux, ivar : array_like of shape (n_spectra, n_pixels)
            Normalized flux density and its inverse variance, 0 where masked.
        z : float or array_like of shape (n_spectra,)
            Redshifts.

        Returns
        -------
        z_mean, z_log_var : ndarray of shape (n_spectra, n_latents)
            Mean and log variance of each latent's posterior.

        Raises
        ------
        ConfigError
            If the shapes do not fit the model, or if a value is not finite.
        """

        def encode_tensors(*spectra: Tensor) -> dict[str, Tensor]:
            return dict(zip(("mean", "log_var"), self.vae.encode(Batch.from_spectra(*spectra)), strict=True))

        result = self._run_batches(encode_tensors, self._validate_spectra(flux, ivar, z))
        return result["mean"], result["log_var"]

    def decode(self, latents: ArrayLike, z: ArrayLike, convolve: bool = True) -> Floats32:
        """Decode points of the latent space to spectra.

        Parameters
        ----------
        latents : array_like of shape (n_spectra, n_latents)
            Points of the latent space.
        z : float or array_like of shape (n_spectra,)
            Redshifts at which to decode.
        convolve : bool, optional
            Whether to return spectra as the instrument shows them; else as they are before it, if the model
            knows the line-spread function (``convolve_lsf``).

        Returns
        -------
        ndarray of shape (n_spectra, n_pixels)
            Flux density [f_λ / f_λ(reference)].

        Raises
        ------
        ConfigError
            If the shapes do not fit the model.
        """
        latents = np.asarray(latents, np.float32)
        if latents.ndim != 2 or latents.shape[1] != self.n_latents:
            raise ConfigError(
                f"latents have shape {latents.shape}: model {self.model_id} takes "
                f"(n_spectra, {self.n_latents})"
            )
        inputs = latents, _validate_redshifts(z, len(latents))

        def decode_tensors(*tensors: Tensor) -> dict[str, Tensor]:
            return {"flux": decode_flux(self.vae, *tensors, convolve=convolve)}

        return self._run_batches(decode_tensors, inputs)["flux"]

    def reconstruct(self, flux: ArrayLike, ivar: ArrayLike, z: ArrayLike) -> Floats32:
        """Encode and decode spectra.

        Parameters
        ----------
        flux, ivar : array_like of shape (n_spectra, n_pixels)
            Normalized flux density and its inverse variance, 0 where masked.
        z : float or array_like of shape (n_spectra,)
            Redshifts.

        Returns
        -------
        ndarray of shape (n_spectra, n_pixels)
            Reconstruction, in the units of ``flux``.
        """
        embedding = self.embed(flux, ivar, z)
        return embedding["amplitude"][:, None] * self.decode(embedding["z_mean"], z)

    def sample(self, n: int, z: ArrayLike, rng: np.random.Generator) -> Floats32:
        """Draw latents from the prior N(0, I) and decode them.

        Parameters
        ----------
        n : int
            Number of spectra.
        z : float or array_like of shape (n,)
            Redshifts at which to decode.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        ndarray of shape (n, n_pixels)
            Flux density [f_λ / f_λ(reference)].
        """
        return self.decode(rng.standard_normal((n, self.n_latents)), z)

    def embed(
        self, flux: ArrayLike, ivar: ArrayLike, z: ArrayLike, first_row: int = 0
    ) -> dict[str, Floats32]:
        """Compute the columns of the embed stage: posteriors and the quality of the reconstruction.

        Parameters
        ----------
        flux, ivar : array_like of shape (n_spectra, n_pixels)
            Normalized flux density and its inverse variance, 0 where masked.
        z : float or array_like of shape (n_spectra,)
            Redshifts.
        first_row : int, optional
            Row number of the first spectrum. Rows of one numbering give the same bits in however many calls
            they are embedded.

        Returns
        -------
        dict of str to ndarray
            The columns `distspec.models.latents.MODEL_COLUMNS`, described at `distspec.models.vae.embed`.
        """

        def embed_tensors(*spectra: Tensor) -> dict[str, Tensor]:
            return embed(self.vae, Batch.from_spectra(*spectra))

        return self._run_batches(embed_tensors, self._validate_spectra(flux, ivar, z), first_row)

    def check_compatible(self, store: Store) -> None:
        """Raise an error if a store's rows are not on the grid and scale of the model.

        The default continuum slope may differ: it is a property of the sample.

        Parameters
        ----------
        store : Store
            Store whose rows the model is to embed.

        Raises
        ------
        ModelError
            If they differ; the message describes both.
        """
        expected, found = (describe_scale(config) for config in (self.record.store_config, store.config))
        if expected != found:
            raise ModelError(
                f"model {self.model_id} takes {expected}; {store.url} holds {found}: "
                "ingest into another --root with the model's settings, or train a model on this store"
            )

    def _validate_spectra(
        self, flux: ArrayLike, ivar: ArrayLike, z: ArrayLike
    ) -> tuple[Floats32, Floats32, Floats32]:
        """Return spectra as arrays of float32 after checking their shapes and values."""
        flux, ivar = np.asarray(flux, np.float32), np.asarray(ivar, np.float32)
        n_pixels = self.grid.n_pixels
        if flux.ndim != 2 or flux.shape[1] != n_pixels or ivar.shape != flux.shape:
            raise ConfigError(
                f"flux has shape {flux.shape} and ivar {ivar.shape}: model {self.model_id} takes "
                f"(n_spectra, {n_pixels}) on its wave_rest; Model.preprocess resamples spectra to it"
            )
        bad = ~((ivar >= 0) & np.isfinite(ivar) & (np.isfinite(flux) | (ivar == 0)))
        if bad.any():
            row, pixel = np.argwhere(bad)[0]
            raise ConfigError(
                f"spectrum {row}, pixel {pixel}: flux {flux[row, pixel]} with ivar {ivar[row, pixel]}; "
                "set ivar to 0 where a pixel is masked"
            )
        return flux, ivar, _validate_redshifts(z, len(flux))

    def _run_batches(
        self,
        function: Callable[..., Mapping[str, Tensor]],
        inputs: Sequence[Floats32],
        first_row: int = 0,
    ) -> dict[str, NDArray[Any]]:
        """Apply a function of tensors to rows, `FORWARD_BATCH_SIZE` at a time and at fixed positions."""
        n = len(inputs[0])
        parts: list[dict[str, NDArray[Any]]] = []
        buffers = [np.zeros((FORWARD_BATCH_SIZE, *values.shape[1:]), np.float32) for values in inputs]
        for start in range(-(first_row % FORWARD_BATCH_SIZE), max(n, 1), FORWARD_BATCH_SIZE):
            rows, inside = slice(max(start, 0), start + FORWARD_BATCH_SIZE), slice(max(-start, 0), n - start)
            for buffer, values in zip(buffers, inputs, strict=True):
                buffer[: inside.start], buffer[max(inside.stop, 0) :] = 0.0, 0.0
                buffer[inside] = values[rows]
            with torch.inference_mode():
                result = function(*(torch.from_numpy(buffer).to(self.device) for buffer in buffers))
            parts.append({name: value[inside].cpu().numpy() for name, value in result.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def load_model(url: str, device: str = "cpu") -> Model:
    """Load a trained model.

    Parameters
    ----------
    url : str
        Folder of the model, ``ROOT/models/<id>``: a path, or a bucket and prefix after ``s3://``, ``gs://``
        or ``az://``; or a name in `distspec.models.pretrained.PRETRAINED_MODELS`.
    device : str, optional
        Torch device on which the network runs, for example "cpu" or "cuda".

    Returns
    -------
    Model

    Raises
    ------
    NotFoundError
        If there is no complete model.
    ModelError
        If its files are damaged, or if another version of distspec made it.

    Examples
    --------
    >>> model = load_model("s3://bucket/root/models/m-0123456789ab", device="cuda")  # doctest: +SKIP
    >>> model.n_latents, model.wave_rest.shape  # doctest: +SKIP
    (16, (640,))
    """
    vae, record = load_vae(find_pretrained_model(url))
    return Model(vae.to(device), record, device)


def _validate_redshifts(z: ArrayLike, n: int) -> Floats32:
    """Return redshifts as an array of shape (n,)."""
    values = np.asarray(z, np.float32)
    if values.shape not in ((), (n,)) or not (np.isfinite(values) & (values > -1)).all():
        raise ConfigError(
            f"z has shape {values.shape} and values {values}: give one redshift above -1, or {n} of them"
        )
    return np.broadcast_to(values, (n,))
