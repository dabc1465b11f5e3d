"""Redshifts of spectra by the evidence of the spectra that a model describes.

At each redshift of a grid the model's spectra, as Gaussian mixtures in linear flux, are compared with the
observed pixels: convolved with the line-spread function, averaged over the pixels, and with amplitude and
coefficients integrated in closed form. A coarse mixture proposes redshifts, and a finer one decides among
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from distspec.core.errors import ConfigError, InvalidSpectrumError, QuarantineReason
from distspec.core.spectrum import Floats, Floats32, Spectrum
from distspec.models.model import Model
from distspec.preprocessing.rest_frame import to_rest_frame_batch
from distspec.redshifts.config import RedshiftConfig
from distspec.redshifts.evidence import (
    N_AMPLITUDE_ITERATIONS,
    compute_mixture_evidence,
    compute_smooth_evidence,
    make_smooth_basis,
    multiply_pairs,
)
from distspec.redshifts.instrument import ObservedTemplates, PixelResponse
from distspec.redshifts.pixels import WeightedPixels
from distspec.redshifts.posterior import SAME_REDSHIFT, RedshiftPosterior
from distspec.redshifts.templates import TemplateMixture, draw_spectra, fit_mixture

BATCH_SIZE = 2048
"""Number of spectra that are compared with the templates together."""
COARSE_STEP = 2
"""Number of steps of the fine mixture's redshifts per step of the coarse one's, which begin at the same."""
COARSE_ITERATIONS = 1
"""Number of solutions for the amplitude of the coarse mixture."""
CENTER_SHIFTS = (-2, 0, 2)
"""Steps from a proposed redshift at which the fine mixture is compared first."""
PEAK_SHIFTS = range(-4, 5)
"""Steps from a proposed redshift at which it is compared if the redshift is likely."""
UNRESOLVED_DROP = 20.0
"""Logarithm of the probability below its maximum from which a proposed redshift is not likely."""
SMOOTH_SCALES = (1.0, 3.0, 10.0)
"""Standard deviations of the coefficients of smooth spectra, relative to the flux."""
MIN_BAYES_FACTOR = 10.0
"""``ln_bayes_factor`` below which nothing distinguishes a spectrum from a smooth or empty one."""
MAX_CHI2_RED, MAX_UNEXPLAINED = 3.0, 0.1
"""χ² of the best fit over its expectation, and the fraction of the spectrum's χ² beyond that which it leaves,
above both of which a spectrum resembles no galaxy of the model."""
TINY = 1e-9
"""Lower limit of a denominator."""
MIN_VALID_PIXELS = 20
"""Number of valid pixels below which no redshift is estimated."""


@dataclass(frozen=True)
class RedshiftEstimates:
    """Redshifts of spectra.

    Attributes
    ----------
    index : list of int
        Positions in the input of the spectra that have an estimate.
    posteriors : list of RedshiftPosterior
        Their posteriors.
    ln_bayes_factor : ndarray of shape (n_estimates,)
        Natural logarithm of the evidence at the best redshift over that of a smooth or empty spectrum. The
        amplitude has an improper prior, so that it is known up to a constant: compare it between spectra.
    chi2_red : ndarray of shape (n_estimates,)
        χ² of the fit at the best redshift, the error floor included, over its expectation.
    unexplained : ndarray of shape (n_estimates,)
        ``chi2_red`` - 1 over the same of a flux of 0: the part of the signal that the fit leaves.
    rejected : list of (int, InvalidSpectrumError)
        Position and reason of every other spectrum.
    """

    index: list[int]
    posteriors: list[RedshiftPosterior]
    ln_bayes_factor: Floats
    chi2_red: Floats
    unexplained: Floats
    rejected: list[tuple[int, InvalidSpectrumError]]

    @property
    def z_class(self) -> list[str]:
        """Class of each spectrum that has an estimate: "noise", "other" or "galaxy".

        Nothing distinguishes noise from smooth or empty spectra: ``ln_bayes_factor`` is below
        `MIN_BAYES_FACTOR`. Others resemble no galaxy of the model at any redshift, as cool stars do not:
        ``chi2_red`` is above `MAX_CHI2_RED` and ``unexplained`` above `MAX_UNEXPLAINED`.
        """
        is_noise = self.ln_bayes_factor < MIN_BAYES_FACTOR
        is_other = (self.chi2_red > MAX_CHI2_RED) & (self.unexplained > MAX_UNEXPLAINED)
        return np.where(is_noise, "noise", np.where(is_other, "other", "galaxy")).tolist()


@dataclass(frozen=True)
class RedshiftEstimator:
    """Estimates redshifts with the spectra that a model describes; `from_model` returns it.

    Attributes
    ----------
    config : RedshiftConfig
        Settings.
    coarse, fine : TemplateMixture
        Mixtures that propose redshifts and that decide among them, on the same wavelengths.
    resolving_power : sequence of (float, float)
        Observed wavelength [µm] and λ / FWHM of the instrument; empty if the templates are as it shows them.
    noise_correlation : float
        Correlation of the noise of neighboring pixels.
    are_templates_pixelized : bool
        Whether the templates were learned from spectra that pixels had broadened.
    log1pz_moments : (float, float) or None
        Mean and standard deviation of ln(1 + z) of the spectra that the model was trained on, if it knows
        them: the prior of ``config.use_prior``.
    """

    config: RedshiftConfig
    coarse: TemplateMixture
    fine: TemplateMixture
    resolving_power: Sequence[tuple[float, float]] = ()
    noise_correlation: float = 0.0
    are_templates_pixelized: bool = False
    log1pz_moments: tuple[float, float] | None = None
    _projected: dict[bytes, tuple[ObservedTemplates, ObservedTemplates]] = field(
        default_factory=dict[bytes, tuple[ObservedTemplates, ObservedTemplates]],
        init=False,
        repr=False,
        compare=False,
    )

    @classmethod
    def from_model(cls, model: Model, config: RedshiftConfig | None = None) -> RedshiftEstimator:
        """Fit the mixtures to spectra drawn from a model, which takes some ten seconds.

        Parameters
        ----------
        model : Model
            A trained model.
        config : RedshiftConfig, optional
            Settings.

        Returns
        -------
        RedshiftEstimator

        Raises
        ------
        ConfigError
            If the model's resolving power is not positive and finite at increasing wavelengths, or if it
            knows no redshifts and ``config.use_prior`` is set.
        """
        config, vae = config or RedshiftConfig(), model.vae.config
        resolving_power = vae.resolving_power if vae.convolve_lsf else ()
        _check_resolving_power(resolving_power, model.model_id)
        if config.use_prior and not vae.condition_on_z:
            raise ConfigError(
                f"model {model.model_id} was trained without redshifts: use_prior needs vae.condition_on_z"
            )
        z_nodes, flux = draw_spectra(model)
        wave = model.wave_rest
        log_wave = np.linspace(np.log(wave[0]), np.log(wave[-1]), len(wave))
        if model.grid.spacing != "log":
            rows = flux.reshape(-1, len(wave))
            flux = np.array([np.interp(log_wave, np.log(wave), row) for row in rows], np.float32)
            flux = flux.reshape(len(z_nodes), -1, len(wave))
        return cls(
            config,
            fit_mixture(log_wave, z_nodes, flux, 1, config.n_coarse_axes),
            fit_mixture(log_wave, z_nodes, flux, config.n_groups, config.n_axes),
            resolving_power,
            vae.noise_correlation,
            True,
            tuple(model.vae.log1pz_moments.tolist()) if vae.condition_on_z else None,
        )

    def estimate(self, spectra: Sequence[Spectrum]) -> RedshiftEstimates:
        """Estimate redshifts.

        Parameters
        ----------
        spectra : sequence of Spectrum
            Observed spectra. The finite redshift of a spectrum is compared as well as the proposed ones, so
            that `RedshiftPosterior.outlier_probability` is known there. Spectra with the same wavelengths are
            compared with templates together, which are projected onto each set of wavelengths in seconds.

        Returns
        -------
        RedshiftEstimates
            Spectra are rejected if their wavelengths or unit are invalid, or if fewer than
            `MIN_VALID_PIXELS` pixels are valid, or see templates at any redshift.
        """
        observed = to_rest_frame_batch([replace(spectrum, z=0.0) for spectrum in spectra])
        rejected = dict(observed.errors)
        groups: dict[bytes, list[int]] = {}
        for position, index in enumerate(observed.index):
            n_valid = int((observed.get_spectrum(position)[2] > 0).sum())
            if n_valid < MIN_VALID_PIXELS:
                rejected[index] = _too_few_pixels(QuarantineReason.NO_VALID_PIXELS, n_valid, "are valid")
            else:
                groups.setdefault(spectra[index].wave.tobytes(), []).append(position)
        found: dict[int, tuple[RedshiftPosterior, float, float, float]] = {}
        unseen = f"see a template at redshifts from {self.config.z_min} to {self.config.z_max}"
        unused = f"{unseen} and are neither negative nor spikes"
        for positions in groups.values():
            wave = spectra[observed.index[positions[0]]].wave
            _, fine = self._project(wave)
            # What is dark at the lowest redshift is dark at all.
            is_seen = fine.columns[0].any(axis=(0, 1))
            for first in range(0, len(positions), BATCH_SIZE):
                batch = positions[first : first + BATCH_SIZE]
                each = [observed.get_spectrum(position) for position in batch]
                flux, ivar = np.array([flux for _, flux, _ in each]), np.array([ivar for *_, ivar in each])
                ivar[:, ~fine.is_covered] = 0.0
                pixels = WeightedPixels.from_spectra(
                    flux, ivar, self.config.error_floor, self.noise_correlation
                )
                n_seen, n_used = ((each[:, is_seen] > 0).sum(axis=1) for each in (ivar, pixels.weight))
                indices = [observed.index[position] for position in batch]
                for k in np.flatnonzero(n_used < MIN_VALID_PIXELS):
                    rejected[indices[k]] = (
                        _too_few_pixels(QuarantineReason.NO_OVERLAP, n_seen[k], unseen)
                        if n_seen[k] < MIN_VALID_PIXELS
                        else _too_few_pixels(QuarantineReason.NO_VALID_PIXELS, n_used[k], unused)
                    )
                usable = np.flatnonzero(n_used >= MIN_VALID_PIXELS)
                z_own = np.array([spectra[indices[k]].z for k in usable])
                results = self._estimate_batch(wave, pixels.take(usable), z_own)
                found |= zip((indices[k] for k in usable), results, strict=True)
        index = sorted(found)
        return RedshiftEstimates(
            index,
            [found[i][0] for i in index],
            np.array([found[i][1] for i in index]),
            np.array([found[i][2] for i in index]),
            np.array([found[i][3] for i in index]),
            sorted(rejected.items()),
        )

    def _estimate_batch(
        self, wave: Floats, pixels: WeightedPixels, z_own: Floats
    ) -> list[tuple[RedshiftPosterior, float, float, float]]:
        """Estimate the redshifts of spectra with the same pixels, which may have redshifts of their own.

        Returns posteriors, and the numbers of `RedshiftEstimates` for each.
        """
        coarse, fine = self._project(wave)
        n_z = len(fine.z)
        proposed = [
            _compute_evidence(self.coarse, columns, pixels, COARSE_ITERATIONS, self.config.marginalize)
            for columns in coarse.columns
        ]
        is_own = np.abs(fine.z - z_own[:, None]) < SAME_REDSHIFT * (1.0 + z_own[:, None])
        peaks = self._find_peaks(np.array(proposed).T)
        evidence = np.full(is_own.shape, -np.inf)
        self._compare(pixels, fine, is_own | _mark(peaks, CENTER_SHIFTS, n_z), evidence)
        is_likely = self._find_likely(pixels, evidence, peaks)
        self._compare(pixels, fine, _mark(np.where(is_likely, peaks, -1), PEAK_SHIFTS, n_z), evidence)
        best = evidence.max(axis=1)
        ln_bayes_factor = best - self._compare_featureless(wave, pixels)
        tempered = evidence / self._measure_width(pixels, best)[:, None] + self._log_prior(fine.z)
        posteriors = [
            RedshiftPosterior.from_evidence(
                fine.z, row, is_kept, self.config.systematic_error, self.config.p_excluded
            )
            for row, is_kept in zip(tempered, is_own, strict=True)
        ]
        chi2_red, of_nothing = (self._measure_chi2(pixels, each) for each in (best, np.zeros(len(best))))
        unexplained = (chi2_red - 1.0) / np.maximum(of_nothing - 1.0, TINY)
        numbers = ln_bayes_factor.tolist(), chi2_red.tolist(), unexplained.tolist()
        return list(zip(posteriors, *numbers, strict=True))

    def _project(self, wave: Floats) -> tuple[ObservedTemplates, ObservedTemplates]:
        """Return the templates of both mixtures on pixels; those on the last pixels are kept."""
        key = wave.tobytes()
        if key not in self._projected:
            response = PixelResponse.from_instrument(
                wave, self.resolving_power, self.fine.log_wave_rest, self.are_templates_pixelized
            )
            limits = self.config.z_min, self.config.z_max
            self._projected.clear()
            self._projected[key] = (
                ObservedTemplates.project(self.coarse, response, *limits, every=COARSE_STEP),
                ObservedTemplates.project(self.fine, response, *limits),
            )
        return self._projected[key]

    def _find_peaks(self, proposed: Floats) -> NDArray[np.int64]:
        """Return the positions among the fine redshifts of the highest maxima, (n_spectra, n_proposals)."""
        padded = np.pad(proposed, ((0, 0), (1, 1)), constant_values=-np.inf)
        is_peak = (padded[:, 1:-1] >= padded[:, :-2]) & (padded[:, 1:-1] >= padded[:, 2:])
        n = min(self.config.n_proposals, proposed.shape[1])
        ranked = np.argpartition(np.where(is_peak, -proposed, np.inf), n - 1, axis=1)[:, :n]
        return COARSE_STEP * ranked

    def _compare(
        self, pixels: WeightedPixels, fine: ObservedTemplates, is_wanted: NDArray[np.bool_], evidence: Floats
    ) -> None:
        """Compute the evidence of the fine mixture where it is wanted and unknown, in place."""
        is_wanted = is_wanted & np.isneginf(evidence)
        for k in np.flatnonzero(is_wanted.any(axis=0)):
            rows = np.flatnonzero(is_wanted[:, k])
            evidence[rows, k] = _compute_evidence(
                self.fine, fine.columns[k], pixels.take(rows), marginalize=self.config.marginalize
            )

    def _compare_featureless(self, wave: Floats, pixels: WeightedPixels) -> Floats:
        """Return the logarithm of the mean evidence of no flux and of smooth spectra, (n_spectra,)."""
        basis = make_smooth_basis(wave, self.config.n_smooth)
        smooth = [
            compute_smooth_evidence(pixels.weight, pixels.flux, scale * basis) for scale in SMOOTH_SCALES
        ]
        values = np.array([np.zeros(len(pixels.flux)), *smooth])
        return logsumexp(values, axis=0) - np.log(len(values))

    def _find_likely(
        self, pixels: WeightedPixels, evidence: Floats, peaks: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return which proposed redshifts are the best one or not far below it, (n_spectra, n_proposals)."""
        best = evidence.max(axis=1)
        lowest = best - UNRESOLVED_DROP * self._measure_width(pixels, best)
        of_peak = np.take_along_axis(evidence, peaks, axis=1)
        return of_peak >= np.minimum(lowest, of_peak.max(axis=1))[:, None]

    def _measure_chi2(self, pixels: WeightedPixels, best: Floats) -> Floats:
        """Return χ² of the best fits over its expectation, (n_spectra,)."""
        chi2 = (pixels.weighted_flux * pixels.flux).sum(axis=1) - 2.0 * best
        # Weights are lower by this factor because the noise is correlated.
        return chi2 / ((pixels.weight > 0).sum(axis=1) / (1.0 + 2.0 * self.noise_correlation))

    def _measure_width(self, pixels: WeightedPixels, best: Floats) -> Floats:
        """Return the factors by which the logarithm of the evidence is divided, from the best fits' χ²."""
        return 1.0 + self.config.misfit_weight * np.maximum(self._measure_chi2(pixels, best) - 1.0, 0.0)

    def _log_prior(self, z: Floats) -> Floats:
        """Return the logarithm of the prior density in ln(1 + z)."""
        if not self.config.use_prior or self.log1pz_moments is None:
            return np.zeros(len(z))
        mean, std = self.log1pz_moments
        return -0.5 * ((np.log1p(z) - mean) / (2.0 * std)) ** 2


def _mark(positions: NDArray[np.int64], shifts: Sequence[int], n: int) -> NDArray[np.bool_]:
    """Return a mask of the shifted positions of each row, (n_rows, n); negative positions are left out."""
    mask = np.zeros((len(positions), n), bool)
    rows, columns = np.nonzero(positions >= 0)
    for shift in shifts:
        mask[rows, (positions[rows, columns] + shift).clip(0, n - 1)] = True
    return mask


def _compute_evidence(
    mixture: TemplateMixture,
    columns: Floats32,
    pixels: WeightedPixels,
    n_iterations: int = N_AMPLITUDE_ITERATIONS,
    marginalize: bool = True,
) -> Floats:
    """Return the evidence of spectra under a mixture at one redshift, (n_spectra,)."""
    templates = np.ascontiguousarray(columns[:, ::-1])  # the mean comes last
    products = multiply_pairs(templates) @ pixels.weight.T
    projections = templates @ pixels.weighted_flux.T
    return compute_mixture_evidence(products, projections, mixture.log_weights, n_iterations, marginalize)


def _check_resolving_power(resolving_power: Sequence[tuple[float, float]], model_id: str) -> None:
    """Raise ConfigError if a model's resolving power cannot be interpolated."""
    table = np.array(resolving_power, np.float64).reshape(-1, 2)
    if not (np.isfinite(table).all() and (table > 0).all() and (np.diff(table[:, 0]) > 0).all()):
        raise ConfigError(
            f"model {model_id}: vae.resolving_power {resolving_power} must be positive and finite, at "
            "increasing wavelengths: train it again with the resolving power of its instrument"
        )


def _too_few_pixels(reason: QuarantineReason, n: int, what: str) -> InvalidSpectrumError:
    """Return the error for a spectrum with too few pixels."""
    return InvalidSpectrumError(
        reason, f"{n} pixels {what}: too few for a redshift (fewer than {MIN_VALID_PIXELS})"
    )
