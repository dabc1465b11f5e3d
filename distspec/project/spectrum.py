"""A spectrum of the published catalog with the model's reconstruction and its measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distspec.core import colors
from distspec.core.spectrum import Floats, Floats32

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FLUX_UNIT = "erg s-1 cm-2 Angstrom-1"


@dataclass(frozen=True, repr=False)
class CatalogSpectrum:
    """A spectrum of the catalog, in its rest frame.

    Attributes
    ----------
    object_id : str
        The archive's unique key of the spectrum.
    z : float
        Redshift.
    wave : ndarray of shape (n_pixels,)
        Rest-frame vacuum wavelengths of the pixels [Angstrom].
    flux : ndarray of shape (n_pixels,)
        Flux density relative to that at ``reference_wave``; without meaning where ``ivar`` is 0.
    ivar : ndarray of shape (n_pixels,)
        Inverse variance of ``flux``; 0 marks masked pixels.
    reconstruction : ndarray of shape (n_pixels,)
        The model's reconstruction of ``flux``.
    reference_wave : float
        Rest-frame wavelength of the normalization [Angstrom].
    norm : float
        Rest-frame flux density that was divided out, (1 + z) times the observed one
        [erg s-1 cm-2 Angstrom-1]; NaN if the archive's spectra have no absolute flux.
    measurements : mapping of str to float
        Measurements of the spectrum and of its reconstruction; `Project.columns` lists their units.
    row : mapping
        Its row of the table ``objects``, without the latents.
    """

    object_id: str
    z: float
    wave: Floats
    flux: Floats32
    ivar: Floats32
    reconstruction: Floats32
    reference_wave: float
    norm: float
    measurements: Mapping[str, float]
    row: Mapping[str, Any]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot flux, uncertainty and reconstruction.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to draw in; new ones by default.

        Returns
        -------
        Axes
            The axes.
        """
        if ax is None:
            import matplotlib.pyplot as plt

            ax = plt.figure(figsize=(9, 3.5), layout="constrained").subplots()
        valid = self.ivar > 0
        flux = np.where(valid, self.flux, np.nan)
        error = np.where(valid, 1.0 / np.sqrt(np.where(valid, self.ivar, 1.0)), np.nan)
        ax.fill_between(self.wave, flux - error, flux + error, color=colors.ERROR_COLOR, linewidth=0)
        ax.plot(self.wave, flux, color=colors.DATA_COLOR, linewidth=0.8, label="flux")
        ax.plot(
            self.wave, self.reconstruction, color=colors.MODEL_COLOR, linewidth=1.0, label="reconstruction"
        )
        ax.set_xlabel("rest-frame wavelength [Å]")
        ax.set_ylabel(f"flux density / that at {self.reference_wave:g} Å")
        ax.set_title(f"{self.object_id}, z = {self.z:.4f}")
        ax.legend(frameon=False)
        return ax

    def to_specutils(self) -> Any:
        """Return a specutils spectrum in the rest frame, in absolute units if the normalization is known.

        Returns
        -------
        specutils.Spectrum
            ``Spectrum1D`` in versions of specutils before 2.

        Raises
        ------
        ImportError
            If specutils is not installed.
        """
        try:
            import specutils
        except ImportError as error:
            raise ImportError("specutils is not installed: run `pip install specutils`") from error
        from astropy import units
        from astropy.nddata import InverseVariance

        spectrum_class: Any = getattr(specutils, "Spectrum", None) or specutils.Spectrum1D
        absolute = np.isfinite(self.norm)
        scale, unit = (self.norm, units.Unit(FLUX_UNIT)) if absolute else (1.0, units.dimensionless_unscaled)
        return spectrum_class(
            flux=self.flux.astype(np.float64) * scale * unit,
            spectral_axis=self.wave * units.Unit("Angstrom"),
            uncertainty=InverseVariance(self.ivar.astype(np.float64) / scale**2, unit=unit**-2),
            mask=self.ivar == 0,
            meta={"object_id": self.object_id, "z": self.z},
        )

    def __repr__(self) -> str:
        pixels = f"{np.count_nonzero(self.ivar > 0)} of {len(self.wave)} pixels valid"
        return f"<CatalogSpectrum {self.object_id}: z = {self.z:.4f}, {pixels}>"
