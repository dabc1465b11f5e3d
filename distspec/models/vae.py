"""The variational autoencoder (VAE) of spectra.

The encoder is an MLP d → 512 → 256 → 128 → 64 → 16 and the decoder its mirror; each hidden layer is dense,
batch norm, ReLU and dropout. With the defaults of `distspec.models.config.VAEConfig` it is the published
model. The options add what is known of spectra: their noise is known and adds in linear flux, an instrument
convolved them, and the redshift decides which wavelengths were observed. Inputs are a named set (at present
only "spectrum").
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distspec.models.augmentation import augment, thin
from distspec.models.batch import Batch, JoinedInputs
from distspec.models.config import SPECTRUM_KEY, VAEConfig
from distspec.models.layers import SpectrumSmoother, init_glorot, make_hidden_layers
from distspec.models.losses import TINY, arcsinh, consistency_loss, fit_amplitude, kl_divergence
from distspec.models.lsf import LineSpreadFunction
from distspec.models.ppca import (
    ProbabilisticPCA,
    compute_arcsinh_noise,
    estimate_arcsinh_moments,
    fit_ppca,
    linearize_arcsinh,
)

TEMPLATE_SCATTER = 0.3
"""Scatter of spectra about the mean spectrum that is fitted to them [`SpectrumVAE.pixel_std`]."""
IMPUTATION_VARIANCE = 0.1
"""Variance [pixel_std²] at which a pixel and its PCA estimate have the same weight in the encoder's input."""
MAX_ARCSINH_FLUX = 7.0
"""Limit of arcsinh flux of estimates and outputs, whose sinh and cosh² would overflow: estimates of pixels
that are not covered, and outputs of untrained models, may be large."""
N_LINEARIZATIONS = 3
"""Number of times that arcsinh is linearized: about the mean spectrum, then about PCA estimates."""
N_VALIDATION_DRAWS = 64
"""Number of draws of noise that divide the light of held-out spectra."""
MIN_REPEAT_PAIRS = 30
"""Number of pairs of repeats below which posteriors are not calibrated."""
CLIP_SIGMA, N_CLIP_ITERATIONS = 5.0, 10
"""Threshold and number of iterations of the sigma clipping in the calibration."""
CHI2_MEDIAN_1DOF = 0.4549
"""Median of the χ² distribution with one degree of freedom."""
LOG_VAR_LIMITS = (-14.0, 0.0)
"""Limits of a posterior's log variance where the networks correct that of PCA; that of the prior is 0."""


class SpectrumVAE(nn.Module):
    """Variational autoencoder of a named set of masked vectors.

    Parameters
    ----------
    input_sizes : mapping of str to int
        Number of values of each input by its name.
    config : VAEConfig
        Architecture and objective.
    wave_rest : ndarray of shape (n_pixels,), optional
        Rest wavelengths of the spectrum's pixels [Å], for the options that depend on wavelength.

    Attributes
    ----------
    pixel_mean, pixel_std : Tensor of shape (n_values,)
        Mean and standard deviation of arcsinh flux over the training spectra.
    log1pz_moments : Tensor of shape (2,)
        Mean and standard deviation of ln(1 + z) over the training spectra.
    posterior_inflation : Tensor of shape (n_latents,)
        Natural logarithm of the factor by which posterior variances are widened.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    log1pz_moments: Tensor
    posterior_inflation: Tensor

    def __init__(
        self, input_sizes: Mapping[str, int], config: VAEConfig, wave_rest: NDArray[np.float64] | None = None
    ) -> None:
        super().__init__()
        self.input_sizes, self.config = dict(input_sizes), config
        total, narrowest, q = sum(self.input_sizes.values()), config.hidden_sizes[-1], config.n_latents
        n_z = 3 if config.condition_on_z else 0
        n_in = total * (1 + config.impute_with_ppca) + q * config.ppca_init + n_z
        # The order in which layers are made is the order of the random draws that initialize them.
        self.encoder = make_hidden_layers(n_in, config.hidden_sizes, config.dropout, config.hidden_layer)
        self.to_mean = nn.Linear(narrowest, q)
        self.to_log_var = nn.Linear(narrowest, q)
        rates = config.dropout if config.decoder_dropout else (0.0,) * len(config.hidden_sizes)
        self.decoder = make_hidden_layers(
            q + n_z, config.hidden_sizes[::-1], rates[::-1], config.hidden_layer
        )
        self.to_output = nn.Linear(config.hidden_sizes[0], total)
        if config.glorot_init:
            init_glorot(self)
        if config.ppca_init:
            self.linear_decoder = nn.Linear(q + n_z, total)
            for correction in (self.to_mean, self.to_log_var, self.to_output):
                nn.init.zeros_(correction.weight)
                nn.init.zeros_(correction.bias)
        self.ppca = ProbabilisticPCA(q, n_z, total) if config.ppca_init or config.impute_with_ppca else None
        self.lsf: LineSpreadFunction | None = None
        if config.resolving_power and wave_rest is not None:
            self.lsf = LineSpreadFunction(wave_rest, config.resolving_power, config.noise_correlation)
        self.smoother: SpectrumSmoother | None = None
        if config.smooth_spectra and wave_rest is not None:
            self.smoother = SpectrumSmoother(wave_rest)
        if config.standardize:
            self.register_buffer("pixel_mean", torch.zeros(total))
            self.register_buffer("pixel_std", torch.ones(total))
        if config.condition_on_z:
            self.register_buffer("log1pz_moments", torch.tensor([0.0, 1.0]))
        if config.calibrate_posteriors:
            self.register_buffer("posterior_inflation", torch.zeros(q))

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean and the log variance of each posterior.

        Parameters
        ----------
        batch : Batch
            The spectra.

        Returns
        -------
        mean, log_var : Tensor of shape (n_spectra, n_latents)
        """
        mean, log_var = self._encode(self._join(batch))
        if self.config.calibrate_posteriors:
            log_var = (log_var + self.posterior_inflation).clamp(max=LOG_VAR_LIMITS[1])
        return mean, log_var

    def decode(self, latents: Tensor, z: Tensor, convolve: bool = True) -> dict[str, Tensor]:
        """Decode latents.

        Parameters
        ----------
        latents : Tensor of shape (n_spectra, n_latents)
            Points of the latent space.
        z : Tensor of shape (n_spectra,)
            Redshifts at which to decode.
        convolve : bool
            Whether to convolve with the line-spread function, if the model has one.

        Returns
        -------
        dict of str to Tensor of shape (n_spectra, n_pixels)
            Arcsinh of each input's reconstruction, before any amplitude.
        """
        parts = self._decode(latents, z, convolve).split(list(self.input_sizes.values()), dim=1)
        return dict(zip(self.input_sizes, parts, strict=True))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the training objective.

        Parameters
        ----------
        batch : Batch
            Training spectra.

        Returns
        -------
        dict of str to Tensor of shape ()
            ``total``, which is minimized, and its terms ``recon``, ``kl``, ``l2`` and, with a second view,
            ``consistency``: means over the batch.
        """
        config, inputs = self.config, self._join(batch)
        target = inputs
        if config.has_second_view:
            first = second = inputs
            if config.data_thinning:
                white = torch.randn(len(batch), self._n_noise, device=batch.z.device)
                first, second = thin(inputs, self._correlate(white, batch.z))
            # Each half is compared with the other, so that noise cannot predict itself.
            target = second.concatenate(first)
            inputs = first.concatenate(augment(second, config, self.lsf))
        mean, log_var = self._encode(inputs)
        latents = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        recon = self.reconstruction_loss(target, self._decode(latents, target.z)).mean()
        terms = {"recon": recon, "kl": kl_divergence(mean, log_var), "l2": self.compute_l2_penalty()}
        total = recon + config.kl_weight * terms["kl"] + terms["l2"]
        if config.consistency_weight:
            terms["consistency"] = consistency_loss(*mean.chunk(2), *log_var.chunk(2))
            total = total + config.consistency_weight * terms["consistency"]
        return {"total": total, **terms}

    def compute_validation_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the losses of held-out spectra, decoded from the posterior means.

        With data thinning, one half of each spectrum's light is encoded and compared with the other; the
        noise that divides them depends on the spectrum alone.

        Parameters
        ----------
        batch : Batch
            The held-out spectra.

        Returns
        -------
        dict of str to Tensor of shape ()
            ``recon``, on which early stopping acts, and ``kl``: sums over the batch.
        """
        inputs = target = self._join(batch)
        if self.config.data_thinning:
            inputs, target = thin(inputs, self._draw_validation_noise(batch.z), equally=True)
        mean, log_var = self._encode(inputs)
        recon = self.reconstruction_loss(target, self._decode(mean, inputs.z))
        return {"recon": recon.sum(), "kl": kl_divergence(mean, log_var) * len(batch)}

    @torch.no_grad()
    def initialize_from_sample(self, batch: Batch) -> None:
        """Set pixel moments, redshift moments and principal components from a sample, before the first step.

        Parameters
        ----------
        batch : Batch
            Sample of the training spectra.
        """
        config, inputs = self.config, self._join(batch)
        if config.condition_on_z:
            log1pz = torch.log1p(inputs.z)
            self.log1pz_moments.copy_(torch.stack([log1pz.mean(), log1pz.std().clamp(min=1e-3)]))
        if config.standardize:
            for _ in range(2 if config.profile_amplitude else 1):
                mean, std = estimate_arcsinh_moments(inputs.value, inputs.ivar)
                self.pixel_mean.copy_(mean)
                self.pixel_std.copy_(std)
                inputs = self._normalize_amplitude(inputs)
        if self.ppca is not None:
            n_effective, z_features = self._compute_n_effective(inputs.z), self._redshift_features(inputs.z)
            estimate = torch.zeros_like(inputs.value)
            for _ in range(N_LINEARIZATIONS):
                y, variance = self._standardize(inputs, estimate)
                fit_ppca(self.ppca, y, variance, n_effective, z_features)
                estimate = self.ppca.estimate(y, variance, n_effective, z_features)
            if config.ppca_init:
                self.linear_decoder.weight.copy_(
                    torch.cat([self.ppca.components, self.ppca.z_coefficients]).T
                )
                self.linear_decoder.bias.zero_()

    @torch.no_grad()
    def calibrate_posteriors(self, first: Batch, second: Batch) -> None:
        """Widen the posteriors, each latent's by one factor, until they match the scatter between repeats.

        Does nothing if the option is off or if there are fewer than `MIN_REPEAT_PAIRS` pairs.

        Parameters
        ----------
        first, second : Batch
            Two observations of each of a number of sources. Their noise and redshift errors count; pairs that
            differ by more than `CLIP_SIGMA` standard deviations are left out as artefacts.
        """
        if not self.config.calibrate_posteriors or len(first) < MIN_REPEAT_PAIRS:
            return
        self.eval()
        (mean, log_var), (mean2, log_var2) = (self._encode(self._join(batch)) for batch in (first, second))
        squared = (mean - mean2).square() / (log_var.exp() + log_var2.exp())
        ratio = squared.median(dim=0).values / CHI2_MEDIAN_1DOF
        for _ in range(N_CLIP_ITERATIONS):
            used = squared < CLIP_SIGMA**2 * ratio
            ratio = (squared * used).sum(dim=0) / used.sum(dim=0)
        self.posterior_inflation.copy_(ratio.clamp(min=1e-3).log())

    def compute_l2_penalty(self) -> Tensor:
        """Return the weighted sum of squares of the hidden layers' kernels.

        Returns
        -------
        Tensor of shape ()
            The penalty.
        """
        kernels = [m.weight for m in (*self.encoder, *self.decoder) if isinstance(m, nn.Linear)]
        return self.config.l2 * torch.stack([kernel.square().sum() for kernel in kernels]).sum()

    def fit_amplitude(self, batch: Batch, reconstruction: Tensor) -> Tensor:
        """Return the amplitudes that fit linear reconstructions to their spectra; 1 without profiling.

        Parameters
        ----------
        batch : Batch
            The spectra.
        reconstruction : Tensor of shape (n_spectra, n_pixels)
            Linear flux.

        Returns
        -------
        Tensor of shape (n_spectra,)
        """
        if not self.config.profile_amplitude:
            return torch.ones_like(batch.z)
        flux, ivar = batch.spectrum
        weight = ivar * self._compute_n_effective(batch.z)[:, : reconstruction.shape[1]]
        return fit_amplitude(torch.where(ivar > 0, flux, 0.0), weight, reconstruction)

    def reconstruction_loss(self, inputs: JoinedInputs, output: Tensor) -> Tensor:
        """Return the squared error of arcsinh flux, or the negative log likelihood of linear flux.

        Parameters
        ----------
        inputs : JoinedInputs
            The values to reconstruct.
        output : Tensor of shape (n_spectra, n_values)
            Arcsinh of the reconstruction.

        Returns
        -------
        Tensor of shape (n_spectra,)
        """
        config, valid = self.config, inputs.ivar > 0
        if config.likelihood == "mse":
            return torch.where(valid, (arcsinh(inputs.value) - output).square(), 0.0).sum(dim=1)
        model, n_effective, noise = (
            torch.sinh(output),
            self._compute_n_effective(inputs.z),
            1.0 / inputs.ivar.clamp(min=TINY),
        )
        std = self.pixel_std if config.standardize else torch.ones_like(output)
        # A scatter in arcsinh flux is √(1 + x²) times as large in linear flux.
        floor_variance = (config.noise_floor * std).square() * (1.0 + model.detach().square())
        if config.profile_amplitude:
            weight = torch.where(valid, n_effective / (noise + floor_variance), 0.0)
            amplitude = fit_amplitude(inputs.value, weight, model)[:, None]
            model, floor_variance = amplitude * model, amplitude.detach().square() * floor_variance
        chi2 = torch.where(valid, (inputs.value - model).square() / (noise + floor_variance), 0.0)
        return 0.5 * (n_effective * chi2).sum(dim=1)

    def _join(self, batch: Batch) -> JoinedInputs:
        """Return all inputs, concatenated, with spectra smoothed if the configuration says so."""
        inputs = batch.join(self.input_sizes)
        if self.smoother is None:
            return inputs
        n = batch.spectrum.value.shape[1]
        smoothed = self.smoother(inputs.value[:, :n])
        value = torch.cat([smoothed, inputs.value[:, n:]], dim=1)
        ivar = torch.cat([(smoothed != 0.0).to(value.dtype), inputs.ivar[:, n:]], dim=1)
        return JoinedInputs(value, ivar, inputs.z)

    def _encode(self, inputs: JoinedInputs) -> tuple[Tensor, Tensor]:
        """Return the posteriors' means and log variances before calibration."""
        config = self.config
        inputs = self._normalize_amplitude(inputs)
        z_features, mean, log_var = self._redshift_features(inputs.z), 0.0, 0.0
        if self.ppca is None:
            features = [self._standardize(inputs, torch.zeros_like(inputs.value))[0], z_features]
        else:
            n_effective = self._compute_n_effective(inputs.z)
            y, variance = self._standardize(inputs, z_features @ self.ppca.z_coefficients)
            for _ in range(N_LINEARIZATIONS - 1):
                estimate = self.ppca.estimate(y, variance, n_effective, z_features)
                y, variance = self._standardize(inputs, estimate)
            mean, ppca_variance, estimate = self.ppca.compute_posterior(y, variance, n_effective, z_features)
            features = [y, z_features]
            if config.impute_with_ppca:
                trust = _compute_trust(variance)
                features[0] = (estimate + trust * (y - estimate)).clamp(-10.0, 10.0)
                features.append(trust)
            log_var = ppca_variance.log()
            if config.ppca_init:
                features.append(0.5 * log_var)
        hidden = self.encoder(torch.cat(features, dim=1))
        with torch.autocast(hidden.device.type, enabled=False):
            mean_shift, log_var_shift = self.to_mean(hidden.float()), self.to_log_var(hidden.float())
        if not config.ppca_init:
            return mean_shift, log_var_shift
        return mean + mean_shift, (log_var + log_var_shift).clamp(*LOG_VAR_LIMITS)

    def _decode(self, latents: Tensor, z: Tensor, convolve: bool = True) -> Tensor:
        """Return arcsinh reconstructions of all inputs, concatenated, before any amplitude."""
        config, features = self.config, torch.cat([latents, self._redshift_features(z)], dim=1)
        hidden = self.decoder(features)
        with torch.autocast(
            z.device.type, enabled=False
        ):  # bfloat16 is coarser than the noise of good spectra
            output = self.to_output(hidden.float())
            if config.ppca_init:
                output = output + self.linear_decoder(features.float())
        if config.standardize:
            output = self.pixel_mean + self.pixel_std * output
        if config.likelihood == "gaussian":
            output = output.clamp(-MAX_ARCSINH_FLUX, MAX_ARCSINH_FLUX)
        if convolve and config.convolve_lsf and self.lsf is not None:
            n = self.lsf.n_pixels
            convolved = torch.asinh(self.lsf.convolve(torch.sinh(output[:, :n]), z))
            output = torch.cat([convolved, output[:, n:]], dim=1)
        return output

    def _normalize_amplitude(self, inputs: JoinedInputs) -> JoinedInputs:
        """Divide by the best-fit amplitude of the mean spectrum."""
        if not self.config.profile_amplitude:
            return inputs
        template = torch.sinh(self.pixel_mean).expand_as(inputs.value)
        first = fit_amplitude(inputs.value, inputs.ivar, template)[:, None]
        # The scatter scales with the amplitude, so that the weights do not depend on brightness.
        scatter = (TEMPLATE_SCATTER * first * self.pixel_std * torch.cosh(self.pixel_mean)).square()
        weight = torch.where(inputs.ivar > 0, 1.0 / (1.0 / inputs.ivar.clamp(min=TINY) + scatter), 0.0)
        amplitude = fit_amplitude(inputs.value, weight, template)[:, None]
        return JoinedInputs(inputs.value / amplitude, inputs.ivar * amplitude.square(), inputs.z)

    def _standardize(self, inputs: JoinedInputs, estimate: Tensor) -> tuple[Tensor, Tensor]:
        """Return standardized arcsinh flux, 0 where masked, and its variance, very large there.

        Arcsinh is linearized about the standardized estimate, and about the value where its noise is small.
        """
        y = arcsinh(inputs.value)
        if not self.config.standardize:
            return y, torch.ones_like(y)
        estimate = (self.pixel_mean + self.pixel_std * estimate).clamp(-MAX_ARCSINH_FLUX, MAX_ARCSINH_FLUX)
        trust = _compute_trust(compute_arcsinh_noise(inputs.ivar, estimate) / self.pixel_std.square())
        y, variance = linearize_arcsinh(inputs.value, inputs.ivar, estimate + trust * (y - estimate))
        y = torch.where(inputs.ivar > 0, (y - self.pixel_mean) / self.pixel_std, 0.0)
        return y, variance / self.pixel_std.square()

    @property
    def _n_noise(self) -> int:
        """Number of independent values from which `_correlate` makes the noise of a spectrum."""
        n_values = sum(self.input_sizes.values())
        return n_values if self.lsf is None else n_values - self.lsf.n_pixels + self.lsf.n_detector_pixels

    def _correlate(self, noise: Tensor, z: Tensor) -> Tensor:
        """Return independent noise of unit variance correlated as that of the inputs."""
        if self.lsf is None:
            return noise
        n = self.lsf.n_detector_pixels
        return torch.cat([self.lsf.resample_noise(noise[:, :n], z), noise[:, n:]], dim=1)

    def _draw_validation_noise(self, z: Tensor) -> Tensor:
        """Return noise as `_correlate` does that is the same at each call, selected by redshift."""
        generator = torch.Generator().manual_seed(0)
        draws = torch.randn(N_VALIDATION_DRAWS, self._n_noise, generator=generator).to(z.device)
        return self._correlate(draws[(1e5 * z).long() % N_VALIDATION_DRAWS], z)

    def _redshift_features(self, z: Tensor) -> Tensor:
        """Return three Hermite polynomials of standardized ln(1 + z), or no feature without conditioning."""
        if not self.config.condition_on_z:
            return z.new_zeros(len(z), 0)
        t = ((torch.log1p(z) - self.log1pz_moments[0]) / self.log1pz_moments[1]).clamp(-4.0, 4.0)
        return torch.stack([t, t.square() - 1.0, (t**3 - 3.0 * t) / 3.0], dim=1)

    def _compute_n_effective(self, z: Tensor) -> Tensor:
        """Return the number of independent measurements in each value."""
        n_effective = z.new_ones(len(z), sum(self.input_sizes.values()))
        if self.lsf is None:
            return n_effective
        n = self.lsf.n_pixels
        return torch.cat([self.lsf.compute_n_effective(z), n_effective[:, n:]], dim=1)


def _compute_trust(variance: Tensor) -> Tensor:
    """Return the weight of values with a variance [pixel_std²] against their estimates; between 0 and 1."""
    return IMPUTATION_VARIANCE / (IMPUTATION_VARIANCE + variance)


@torch.inference_mode()
def embed(model: SpectrumVAE, batch: Batch) -> dict[str, Tensor]:
    """Embed spectra; each spectrum's result depends on that spectrum alone.

    Parameters
    ----------
    model : SpectrumVAE
        The model.
    batch : Batch
        The spectra.

    Returns
    -------
    dict of str to Tensor
        ``z_mean`` and ``z_log_var`` of shape (n_spectra, n_latents), the posteriors' means and log variances;
        and of shape (n_spectra,): ``amplitude``, the factor that scales the decoded flux to the spectrum;
        ``recon_mse``, the mean over valid pixels of the squared difference of arcsinh flux; and
        ``recon_chi2_red``, the mean over valid pixels of the squared difference of linear flux times ivar.
    """
    model.eval()
    z_mean, z_log_var = model.encode(batch)
    scaled = model.decode(z_mean, batch.z)[SPECTRUM_KEY]
    recon = torch.sinh(scaled)
    amplitude = model.fit_amplitude(batch, recon)
    if model.config.profile_amplitude:
        recon = amplitude[:, None] * recon
        scaled = arcsinh(recon)
    flux, ivar = batch.spectrum
    valid = ivar > 0
    n_valid = valid.sum(dim=1).clamp(min=1)
    residual = torch.where(valid, flux - recon, 0.0)
    difference = torch.where(valid, arcsinh(flux) - scaled, 0.0)
    return {
        "z_mean": z_mean,
        "z_log_var": z_log_var,
        "amplitude": amplitude,
        "recon_mse": difference.square().sum(dim=1) / n_valid,
        "recon_chi2_red": (residual.square() * ivar).sum(dim=1) / n_valid,
    }


@torch.inference_mode()
def decode_flux(model: SpectrumVAE, latents: Tensor, z: Tensor, convolve: bool = True) -> Tensor:
    """Return the decoded spectra of latents in linear flux.

    Parameters
    ----------
    model : SpectrumVAE
        The model.
    latents : Tensor of shape (n_spectra, n_latents)
        Latent variables.
    z : Tensor of shape (n_spectra,)
        Redshifts at which to decode.
    convolve : bool
        Whether to convolve with the line-spread function, if the model has one.

    Returns
    -------
    Tensor of shape (n_spectra, n_pixels)
    """
    model.eval()
    return torch.sinh(model.decode(latents, z, convolve)[SPECTRUM_KEY])
