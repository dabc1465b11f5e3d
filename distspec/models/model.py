"""A trained model as a thing to use: spectra in, latents out, and back; NumPy on both sides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from distspec.core.errors import InvalidSpectrumError
from distspec.core.records import lists_to_tuples
from distspec.core.spectrum import Floats, Floats32, Spectrum, SpectrumBatch, WavelengthGrid
from distspec.models.batch import Batch
from distspec.models.serialization import load_vae
from distspec.models.vae import SpectrumVAE, decode_flux, embed
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.rest_frame import preprocess
from distspec.store.store import Store

FORWARD_BATCH_SIZE = 1024
"""Rows of every forward pass, those that are missing padded: a row's bits then depend on that row and on its
place in the pass, never on how many others there are."""


@dataclass(frozen=True)
class Model:
    """A trained variational autoencoder of spectra, ready to use: `load_model` gives it.

    Spectra are (N, L) on `wave_rest`, in units of their flux density at a rest wavelength (`preprocess`
    brings them there), with inverse variances, 0 where masked; z is (N,) or one for all.

    Attributes
    ----------
    vae : SpectrumVAE
    record : mapping
        What ``model.json`` says: grid, normalisation, data snapshot, configuration, metrics, versions.
    device : str
        Where it computes.
    """

    vae: SpectrumVAE
    record: Mapping[str, Any]
    device: str = "cpu"

    @property
    def model_id(self) -> str:
        """Its name."""
        return str(self.record["model_id"])

    @property
    def grid(self) -> WavelengthGrid:
        """The pixels that it knows."""
        return WavelengthGrid(**self.record["grid"])

    @property
    def wave_rest(self) -> Floats:
        """Rest wavelengths of the pixels, (L,) [Å, vacuum]."""
        return self.grid.wave_rest

    @property
    def n_latents(self) -> int:
        """Dimensions of the latent space."""
        return self.vae.config.n_latents

    def preprocess(
        self, spectra: Sequence[Spectrum]
    ) -> tuple[SpectrumBatch, list[tuple[int, InvalidSpectrumError]]]:
        """Bring spectra, as files hold them, to the grid and scale on which the model was trained.

        Returns
        -------
        batch : SpectrumBatch
            Its ``flux``, ``ivar`` and ``z`` are what the other methods take.
        rejected : list of (index, BadSpectrumError)
            Which of `spectra` cannot be used, and why.
        """
        scale = self.record["normalisation"]
        norm = NormConfig(**lists_to_tuples(scale["settings"].get("norm", {})))
        return preprocess(spectra, self.grid, norm, float(scale["sample_slope"]))

    def encode(self, flux: ArrayLike, ivar: ArrayLike, z: ArrayLike) -> tuple[Floats32, Floats32]:
        """Return the posterior's mean and log variance, (N, latents) each.

        Raises
        ------
        ValueError
            When shapes do not fit the model, or numbers are none.
        """

        def of(*spectra: Tensor) -> dict[str, Tensor]:
            return dict(zip(("mean", "log_var"), self.vae.encode(Batch.from_spectra(*spectra)), strict=True))

        found = self._run_batches(of, self._validate_spectra(flux, ivar, z))
        return found["mean"], found["log_var"]

    def decode(self, latents: ArrayLike, z: ArrayLike) -> Floats32:
        """Return spectra (N, L) [f_λ / f_λ(reference)] of latents (N, latents) at redshifts (N,).

        Raises
        ------
        ValueError
            When shapes do not fit the model.
        """
        latents = np.asarray(latents, np.float32)
        if latents.ndim != 2 or latents.shape[1] != self.n_latents:
            raise ValueError(f"latent is {latents.shape}: model {self.model_id} takes (N, {self.n_latents})")
        inputs = latents, _validate_redshifts(z, len(latents))
        return self._run_batches(lambda *each: {"flux": decode_flux(self.vae, *each)}, inputs)["flux"]

    def reconstruct(self, flux: ArrayLike, ivar: ArrayLike, z: ArrayLike) -> Floats32:
        """Return what the model makes of spectra, (N, L), to be compared with their flux."""
        found = self.embed(flux, ivar, z)
        return found["amplitude"][:, None] * self.decode(found["z_mean"], z)

    def sample(self, n: int, z: ArrayLike, rng: np.random.Generator) -> Floats32:
        """Return `n` made-up spectra, (n, L), at redshifts (n,): latents drawn from the prior, decoded."""
        return self.decode(rng.standard_normal((n, self.n_latents)), z)

    def embed(
        self, flux: ArrayLike, ivar: ArrayLike, z: ArrayLike, first_row: int = 0
    ) -> dict[str, Floats32]:
        """Return what `distspec.models.vae.embed` says of spectra: `distspec.models.latents.MODEL_COLUMNS`.

        Parameters
        ----------
        flux, ivar, z
            As everywhere here.
        first_row : int
            The number of the first of them: rows of one numbering get the same bits however they are cut.
        """

        def of(*spectra: Tensor) -> dict[str, Tensor]:
            return embed(self.vae, Batch.from_spectra(*spectra))

        return self._run_batches(of, self._validate_spectra(flux, ivar, z), first_row)

    def check_compatible(self, store: Store) -> None:
        """Refuse a store whose rows are not on this model's grid and scale.

        The slope that stands in where a spectrum's own cannot be fitted is the sample's, and may differ.

        Raises
        ------
        ValueError
            Names both.
        """
        frozen, scale = store.config, self.record["normalisation"]
        mine = _describe_scale(self.grid, scale["reference"], scale["settings"].get("norm", {}))
        theirs = _describe_scale(frozen.grid, frozen.reference_wave, frozen.preprocessing.get("norm", {}))
        if mine != theirs:
            raise ValueError(
                f"model {self.model_id} knows {mine}; {store.url} holds {theirs}: "
                "ingest into another --root with the model's settings, or train a model on this store"
            )

    def _validate_spectra(
        self, flux: ArrayLike, ivar: ArrayLike, z: ArrayLike
    ) -> tuple[Floats32, Floats32, Floats32]:
        flux, ivar = np.asarray(flux, np.float32), np.asarray(ivar, np.float32)
        n_pixels = self.grid.n_pixels
        if flux.ndim != 2 or flux.shape[1] != n_pixels or ivar.shape != flux.shape:
            raise ValueError(
                f"flux is {flux.shape} and ivar {ivar.shape}: model {self.model_id} takes (N, {n_pixels}) "
                "on its wave_rest; Model.preprocess brings spectra there"
            )
        bad = ~((ivar >= 0) & np.isfinite(ivar) & (np.isfinite(flux) | (ivar == 0)))
        if bad.any():
            row, pixel = np.argwhere(bad)[0]
            raise ValueError(
                f"spectrum {row}, pixel {pixel}: flux {flux[row, pixel]} with ivar {ivar[row, pixel]}; "
                "give ivar 0 to what is masked"
            )
        return flux, ivar, _validate_redshifts(z, len(flux))

    def _run_batches(
        self,
        function: Callable[..., Mapping[str, Tensor]],
        inputs: Sequence[Floats32],
        first_row: int = 0,
    ) -> dict[str, NDArray[Any]]:
        """Apply a function of tensors to rows, `BATCH` at a time and at fixed places."""
        n = len(inputs[0])
        parts: list[dict[str, NDArray[Any]]] = []
        buffers = [np.zeros((FORWARD_BATCH_SIZE, *each.shape[1:]), np.float32) for each in inputs]
        for start in range(-(first_row % FORWARD_BATCH_SIZE), max(n, 1), FORWARD_BATCH_SIZE):
            rows, inside = slice(max(start, 0), start + FORWARD_BATCH_SIZE), slice(max(-start, 0), n - start)
            for buffer, each in zip(buffers, inputs, strict=True):
                buffer[: inside.start], buffer[max(inside.stop, 0) :] = 0.0, 0.0
                buffer[inside] = each[rows]
            with torch.inference_mode():
                found = function(*(torch.from_numpy(each).to(self.device) for each in buffers))
            parts.append({name: value[inside].cpu().numpy() for name, value in found.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def load_model(url: str, device: str = "cpu") -> Model:
    """Load a model.

    Parameters
    ----------
    url : str
        Its folder, ``ROOT/models/<id>``: a path, or s3://, gs:// or az:// bucket and prefix.
    device : str
        Where it shall compute, as torch names it: "cpu", "cuda".

    Raises
    ------
    FileNotFoundError
        When there is no whole model.
    ValueError
        When its files are not those that ``model.json`` vouches for, or a newer distspec made it.
    """
    vae, record = load_vae(url)
    return Model(vae.to(device), record, device)


def _validate_redshifts(z: ArrayLike, n: int) -> Floats32:
    values = np.asarray(z, np.float32)
    if values.shape not in ((), (n,)) or not (np.isfinite(values) & (values > -1)).all():
        raise ValueError(f"z is {values.shape}, from {values}: give one redshift above -1, or {n} of them")
    return np.broadcast_to(values, (n,))


def _describe_scale(grid: WavelengthGrid, reference: float, norm: Mapping[str, Any]) -> str:
    """Say what a grid and a scale are: equal words, equal meaning."""
    windows = ", ".join(
        f"{name} {lists_to_tuples({name: value})[name]}" for name, value in sorted(norm.items())
    )
    return (
        f"{grid.n_pixels} {grid.spacing} pixels over {grid.start!r}–{grid.stop!r} Å, "
        f"scaled to 1 at {reference!r} Å ({windows})"
    )
