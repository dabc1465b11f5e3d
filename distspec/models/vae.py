"""The variational autoencoder: what it is, what it is trained on, what it says of a spectrum.

d → 512 → 256 → 128 → 64 → 16 and its mirror; each hidden layer is dense, batch norm, ReLU, dropout.
Without any of the options of `VAEConfig` it is the published model. They know what a spectrum is: that its
errors are known, that noise adds in linear flux, that an instrument blurred it, that redshift decides what
of it was seen. Inputs are a named set (now only "spectrum"), so that photometry can join.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distspec.models.config import VAEConfig
from distspec.models.lsf import LineSpreadFunction
from distspec.models.ppca import ProbabilisticPCA, estimate_arcsinh_moments, fit_ppca

SPECTRUM_KEY = "spectrum"
TEMPLATE_SCATTER = 0.3
"""Scatter about the mean spectrum, in `spread`, when its amplitude is fitted to one of the sample."""
IMPUTATION_VARIANCE = 0.1
"""A pixel whose variance [spread²] is this counts as much as what the others say of it."""
MIN_AMPLITUDE = 0.05
MIN_REPEAT_PAIRS = 30
"""Sources seen twice that are needed to say how wide posteriors must be."""
CLIP_SIGMA, N_CLIP_ITERATIONS = 5.0, 10
CHI2_MEDIAN_1DOF = 0.4549
"""Of χ² of one degree of freedom."""
_TINY = 1e-12


class ModelInput(NamedTuple):
    """One named input as stored.

    value : (B, d), linear
    ivar : (B, d), 0 = masked
    """

    value: Tensor
    ivar: Tensor


@dataclass(frozen=True)
class Batch:
    """Objects to train on or to embed: named inputs, and each one's redshift (B,)."""

    inputs: Mapping[str, ModelInput]
    z: Tensor

    @classmethod
    def from_spectra(cls, flux: Tensor, ivar: Tensor, z: Tensor) -> Batch:
        """Return objects of which spectra are known: flux, ivar (B, L) [f_λ / f_λ(reference)], z (B,)."""
        return cls({SPECTRUM_KEY: ModelInput(flux, ivar)}, z)

    @property
    def spectrum(self) -> ModelInput:
        """The spectra."""
        return self.inputs[SPECTRUM_KEY]

    def __len__(self) -> int:
        return len(self.z)

    def __getitem__(self, rows: Any) -> Batch:
        """Return some of the objects: a slice, indices or flags."""
        inputs = {name: ModelInput(m.value[rows], m.ivar[rows]) for name, m in self.inputs.items()}
        return Batch(inputs, self.z[rows])

    def to(self, device: Any) -> Batch:
        """Return the same objects on a device."""
        inputs = {
            name: ModelInput(*(t.to(device, non_blocking=True) for t in m)) for name, m in self.inputs.items()
        }
        return Batch(inputs, self.z.to(device, non_blocking=True))


class JoinedInputs(NamedTuple):
    """Joined inputs: value and ivar (B, D), linear, 0 where masked; redshift (B,)."""

    value: Tensor
    ivar: Tensor
    z: Tensor

    def concatenate(self, others: JoinedInputs) -> JoinedInputs:
        """Return these objects and then others, as one."""
        return JoinedInputs(*(torch.cat(pair) for pair in zip(self, others, strict=True)))


class SpectrumVAE(nn.Module):
    """Variational autoencoder of a named set of masked vectors.

    Parameters
    ----------
    input_sizes : mapping of input name to its length
    config : VAEConfig
    wave_rest : (L,) [Å]
        Of the spectrum's pixels, for what depends on wavelength.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    log1pz_moments: Tensor
    posterior_inflation: Tensor
    encoder_mask: Tensor

    def __init__(
        self, input_sizes: Mapping[str, int], config: VAEConfig, wave_rest: NDArray[np.float64] | None = None
    ) -> None:
        super().__init__()
        self.input_sizes, self.config = dict(input_sizes), config
        total, narrowest, q = sum(self.input_sizes.values()), config.hidden_sizes[-1], config.n_latents
        n_z = 3 if config.condition_on_z else 0
        n_in = total * (1 + config.impute_with_ppca) + q * config.ppca_init + n_z
        self.encoder = _make_mlp(n_in, config.hidden_sizes, config.dropout)
        self.to_mean = nn.Linear(narrowest, q)
        self.to_log_var = nn.Linear(narrowest, q)
        rates = config.dropout if config.decoder_dropout else (0.0,) * len(config.hidden_sizes)
        self.decoder = _make_mlp(q + n_z, config.hidden_sizes[::-1], rates[::-1])
        self.to_output = nn.Linear(config.hidden_sizes[0], total)
        if config.ppca_init:
            self.linear_decoder = nn.Linear(q + n_z, total)
            for correction in (self.to_mean, self.to_log_var, self.to_output):
                nn.init.zeros_(correction.weight)
                nn.init.zeros_(correction.bias)
        self.ppca = ProbabilisticPCA(q, n_z, total) if config.ppca_init or config.impute_with_ppca else None
        self.lsf = _make_lsf(config, wave_rest)
        visible = torch.ones(total)
        if config.encoder_min_wave and wave_rest is not None:
            visible[: len(wave_rest)] = torch.from_numpy(wave_rest > config.encoder_min_wave)
        self.register_buffer("encoder_mask", visible, persistent=False)
        if config.standardize:
            self.register_buffer("pixel_mean", torch.zeros(total))
            self.register_buffer("pixel_std", torch.ones(total))
        if config.condition_on_z:
            self.register_buffer("log1pz_moments", torch.tensor([0.0, 1.0]))
        if config.calibrate_posteriors:
            self.register_buffer("posterior_inflation", torch.zeros(q))

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the posterior's mean and log variance, (B, latents) each."""
        mean, log_var = self._encode(self._join_inputs(batch))
        return mean, log_var + self.posterior_inflation if self.config.calibrate_posteriors else log_var

    def decode(self, latents: Tensor, z: Tensor) -> dict[str, Tensor]:
        """Return reconstructions by input name, (B, d) each, arcsinh of what is stored.

        Parameters
        ----------
        latents : (B, latents)
        z : (B,)
            Redshifts at which to decode.
        """
        parts = self._decode(latents, z).split(list(self.input_sizes.values()), dim=1)
        return dict(zip(self.input_sizes, parts, strict=True))

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Return the objective to minimise, "total", and its terms: means over the batch.

        Parameters
        ----------
        batch : Batch
        step : int
            Steps taken so far.
        """
        config, seen = self.config, self._join_inputs(batch)
        target = seen
        if config.has_second_view:
            one, other = self._thin(seen) if config.data_thinning else (seen, seen)
            # Noise must not predict itself: each half is held against the other.
            target = JoinedInputs(other.value, seen.ivar, seen.z).concatenate(
                JoinedInputs(one.value, seen.ivar, seen.z)
            )
            seen = one.concatenate(self._augment(other))
        mean, log_var = self._encode(seen)
        latent = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        recon = self._reconstruction_loss(target, self._decode(latent, target.z), step).mean()
        kl_each = kl_divergence(mean, log_var)
        terms = {"recon": recon, "kl": kl_each.sum(), "l2": self.compute_l2_penalty()}
        cost = (kl_each - config.free_bits).clamp(min=0.0).sum() if config.free_bits else terms["kl"]
        total = recon + config.kl_weight * cost + terms["l2"]
        if config.consistency_weight:
            terms["consistency"] = consistency_loss(*mean.chunk(2), *log_var.chunk(2))
            total = total + config.consistency_weight * terms["consistency"]
        return {"total": total, **terms}

    def compute_validation_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return "recon", by which training stops, and "kl": sums over the batch, decoded from z_mean."""
        view = self._join_inputs(batch)
        mean, log_var = self._encode(view)
        recon = self._reconstruction_loss(view, self._decode(mean, view.z), self.config.noise_floor_steps)
        return {"recon": recon.sum(), "kl": kl_divergence(mean, log_var).sum() * len(batch)}

    @torch.no_grad()
    def initialize_from_sample(self, batch: Batch) -> None:
        """Set what the model takes from its training spectra before the first step; once, on a sample."""
        config, view = self.config, self._join_inputs(batch)
        if config.condition_on_z:
            ln = torch.log1p(view.z)
            self.log1pz_moments.copy_(torch.stack([ln.mean(), ln.std().clamp(min=1e-3)]))
        if config.standardize:
            for _ in range(2 if config.profile_amplitude else 1):
                mean, spread = estimate_arcsinh_moments(view.value, view.ivar)
                self.pixel_mean.copy_(mean)
                self.pixel_std.copy_(spread)
                view = self._normalize_amplitude(view)
        if self.ppca is not None:
            y, variance = self._standardize(view)
            terms = self._redshift_features(view.z)
            fit_ppca(self.ppca, y, variance, self._compute_n_effective(view.z), terms)
            if config.ppca_init:
                self.linear_decoder.weight.copy_(
                    torch.cat([self.ppca.components, self.ppca.z_coefficients]).T
                )
                self.linear_decoder.bias.zero_()

    @torch.no_grad()
    def calibrate_posteriors(self, first: Batch, second: Batch) -> None:
        """Widen posteriors, each latent's by one factor, until repeats differ as much as they say.

        Parameters
        ----------
        first, second : Batch
            Two observations of each of some sources. Noise and redshift errors count; the few pairs that
            disagree by more than `CLIP_SIGMA` σ, by artefacts, do not.
        """
        if not self.config.calibrate_posteriors or len(first) < MIN_REPEAT_PAIRS:
            return
        self.eval()
        (mean, log_var), (mean2, log_var2) = (self._encode(self._join_inputs(b)) for b in (first, second))
        squared = (mean - mean2).square() / (log_var.exp() + log_var2.exp())
        ratio = squared.median(dim=0).values / CHI2_MEDIAN_1DOF
        for _ in range(N_CLIP_ITERATIONS):
            kept = squared < CLIP_SIGMA**2 * ratio
            ratio = (squared * kept).sum(dim=0) / kept.sum(dim=0)
        self.posterior_inflation.copy_(ratio.clamp(min=1e-3).log())

    def compute_l2_penalty(self) -> Tensor:
        """Return the summed squares of the hidden layers' kernels times their weight."""
        kernels = [m.weight for m in (*self.encoder, *self.decoder) if isinstance(m, nn.Linear)]
        return self.config.l2 * torch.stack([kernel.square().sum() for kernel in kernels]).sum()

    def fit_amplitude(self, batch: Batch, reconstruction: Tensor) -> Tensor:
        """Return by which linear reconstructions, (B, L), fit their spectra best, (B,); 1 if not profiled."""
        if not self.config.profile_amplitude:
            return torch.ones_like(batch.z)
        flux, ivar = batch.spectrum
        weight = ivar * self._compute_n_effective(batch.z)[:, : reconstruction.shape[1]]
        return _fit_amplitude(torch.where(ivar > 0, flux, 0.0), weight, reconstruction)

    def _join_inputs(self, batch: Batch) -> JoinedInputs:
        """Return the named inputs end to end, in the order of `sizes`: the spectrum first."""
        value, ivar = (torch.cat([batch.inputs[n][k] for n in self.input_sizes], dim=1) for k in (0, 1))
        return JoinedInputs(torch.where(ivar > 0, value, 0.0), ivar, batch.z)

    def _encode(self, inputs: JoinedInputs) -> tuple[Tensor, Tensor]:
        config = self.config
        inputs = self._normalize_amplitude(
            JoinedInputs(inputs.value * self.encoder_mask, inputs.ivar * self.encoder_mask, inputs.z)
        )
        y, variance = self._standardize(inputs)
        given, mean, log_var = [y, self._redshift_features(inputs.z)], 0.0, 0.0
        if self.ppca is not None:
            counts = self._compute_n_effective(inputs.z)
            mean, width, estimate = self.ppca.compute_posterior(y, variance, counts, given[1])
            if config.impute_with_ppca:
                trust = IMPUTATION_VARIANCE / (IMPUTATION_VARIANCE + variance)
                given[0] = (estimate + trust * (y - estimate)).clamp(-10.0, 10.0)
                given.append(trust)
            log_var = width.log()
            if config.ppca_init:
                given.append(0.5 * log_var)
        hidden = self.encoder(torch.cat(given, dim=1))
        with torch.autocast(hidden.device.type, enabled=False):
            moved, widened = self.to_mean(hidden.float()), self.to_log_var(hidden.float())
        if not config.ppca_init:
            return moved, widened
        return mean + moved, (log_var + widened).clamp(-14.0, 4.0)

    def _decode(self, latents: Tensor, z: Tensor) -> Tensor:
        """Return arcsinh reconstructions, (B, D), before any amplitude."""
        config, given = self.config, torch.cat([latents, self._redshift_features(z)], dim=1)
        hidden = self.decoder(given)
        with torch.autocast(z.device.type, enabled=False):  # half precision is coarser than good spectra
            out = self.to_output(hidden.float())
            if config.ppca_init:
                out = out + self.linear_decoder(given.float())
        if config.standardize:
            out = self.pixel_mean + self.pixel_std * out
        if config.likelihood == "gaussian":
            out = out.clamp(-7.0, 7.0)  # sinh of more overflows before training has begun
        if config.convolve_lsf and self.lsf is not None:
            n = self.lsf.n_pixels
            seen = torch.asinh(self.lsf.convolve(torch.sinh(out[:, :n]), z))
            out = torch.cat([seen, out[:, n:]], dim=1)
        return out

    def _reconstruction_loss(self, inputs: JoinedInputs, output: Tensor, step: int) -> Tensor:
        """Return how badly arcsinh reconstructions fit, (B,): squared error, or −ln of the likelihood."""
        config, valid = self.config, inputs.ivar > 0
        if config.likelihood == "mse":
            return torch.where(valid, (arcsinh(inputs.value) - output).square(), 0.0).sum(dim=1)
        first, last = config.noise_floor
        floor = first * (last / first) ** min(1.0, step / config.noise_floor_steps)
        model, counts, noise = (
            torch.sinh(output),
            self._compute_n_effective(inputs.z),
            1.0 / inputs.ivar.clamp(min=_TINY),
        )
        spread = self.pixel_std if config.standardize else torch.ones_like(output)
        # A scatter in arcsinh flux is √(1 + x²) times as large in linear flux.
        extra = (floor * spread).square() * (1.0 + model.detach().square())
        if config.profile_amplitude:
            weight = torch.where(valid, counts / (noise + extra), 0.0)
            amplitude = _fit_amplitude(inputs.value, weight, model)[:, None]
            model, extra = amplitude * model, amplitude.detach().square() * extra
        chi2 = torch.where(valid, (inputs.value - model).square() / (noise + extra), 0.0)
        if config.student_t_dof:
            chi2 = (config.student_t_dof + 1.0) * torch.log1p(chi2 / config.student_t_dof)
        return 0.5 * (counts * chi2).sum(dim=1)

    def _normalize_amplitude(self, inputs: JoinedInputs) -> JoinedInputs:
        """Divide by the amplitude at which the mean spectrum fits what the encoder may see."""
        if not self.config.profile_amplitude:
            return inputs
        template = torch.sinh(self.pixel_mean).expand_as(inputs.value)
        first = _fit_amplitude(inputs.value, inputs.ivar, template)[:, None]
        # The scatter about the template is as large as the spectrum: brightness itself must not be seen.
        scatter = (TEMPLATE_SCATTER * first * self.pixel_std * torch.cosh(self.pixel_mean)).square()
        weight = torch.where(inputs.ivar > 0, 1.0 / (1.0 / inputs.ivar.clamp(min=_TINY) + scatter), 0.0)
        by = _fit_amplitude(inputs.value, weight, template)[:, None]
        return JoinedInputs(inputs.value / by, inputs.ivar * by.square(), inputs.z)

    def _standardize(self, inputs: JoinedInputs) -> tuple[Tensor, Tensor]:
        """Return standardised arcsinh flux, 0 where masked, and its variance, very large there, (B, D)."""
        y = arcsinh(inputs.value)
        if not self.config.standardize:
            return y, torch.ones_like(y)
        precision = inputs.ivar * (1.0 + inputs.value.clamp(min=0.0).square()) * self.pixel_std.square()
        y = torch.where(inputs.ivar > 0, (y - self.pixel_mean) / self.pixel_std, 0.0)
        return y, 1.0 / precision.clamp(min=_TINY)

    def _redshift_features(self, z: Tensor) -> Tensor:
        """Return what the networks are told of redshifts, (B, 3): Hermite polynomials of scaled ln(1 + z)."""
        if not self.config.condition_on_z:
            return z.new_zeros(len(z), 0)
        t = ((torch.log1p(z) - self.log1pz_moments[0]) / self.log1pz_moments[1]).clamp(-4.0, 4.0)
        return torch.stack([t, t.square() - 1.0, (t**3 - 3.0 * t) / 3.0], dim=1)

    def _compute_n_effective(self, z: Tensor) -> Tensor:
        """Return how many measurements each value counts for, (B, D)."""
        ones = z.new_ones(len(z), sum(self.input_sizes.values()))
        if self.lsf is None:
            return ones
        n = self.lsf.n_pixels
        return torch.cat([self.lsf.compute_n_effective(z), ones[:, n:]], dim=1)

    def _thin(self, inputs: JoinedInputs) -> tuple[JoinedInputs, JoinedInputs]:
        """Split the light in two with independent noise: x + kε and x − ε/k, ε as noisy as x.

        Data thinning of Gaussians (Neufeld et al. 2024, JMLR 25, 57).
        """
        k = torch.exp(1.4 * torch.rand_like(inputs.z) - 0.7)[:, None]
        noise = torch.randn_like(inputs.value)
        noise = torch.where(inputs.ivar > 0, noise * inputs.ivar.clamp(min=_TINY).rsqrt(), 0.0)
        one = JoinedInputs(inputs.value + k * noise, inputs.ivar / (1.0 + k.square()), inputs.z)
        return one, JoinedInputs(
            inputs.value - noise / k, inputs.ivar / (1.0 + k.square().reciprocal()), inputs.z
        )

    def _augment(self, inputs: JoinedInputs) -> JoinedInputs:
        """Return spectra as they might also have been observed."""
        config, (value, ivar, z) = self.config, inputs
        if config.redshift_augmentation and self.lsf is not None:
            n, to = self.lsf.n_pixels, z[torch.randperm(len(z), device=z.device)]
            # Nothing can be made sharper: towards larger z only the coverage changes.
            label, mask = torch.minimum(z, to), (ivar[:, :n] > 0).to(value.dtype)
            flux = self.lsf.degrade(value[:, :n], mask, z, label)
            value = torch.cat([flux, value[:, n:]], dim=1)
            ivar = torch.cat([ivar[:, :n] * self.lsf.is_covered(to), ivar[:, n:]], dim=1)
            z = label
        if config.noise_augmentation:
            k = config.noise_augmentation * torch.rand_like(z)[:, None]
            value = value + k * torch.randn_like(value) * ivar.clamp(min=_TINY).rsqrt()
            ivar = ivar / (1.0 + k.square())
        if config.scale_augmentation:
            by = torch.exp(config.scale_augmentation * torch.randn_like(z))[:, None]
            value, ivar = value * by, ivar / by.square()
        return JoinedInputs(torch.where(ivar > 0, value, 0.0), ivar, z)


def _make_lsf(config: VAEConfig, wave_rest: NDArray[np.float64] | None) -> LineSpreadFunction | None:
    return (
        LineSpreadFunction(wave_rest, config.resolving_power)
        if config.resolving_power and wave_rest is not None
        else None
    )


def _make_mlp(n_in: int, hidden_sizes: tuple[int, ...], dropout: tuple[float, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, rate in zip(hidden_sizes, dropout, strict=True):
        layers += [nn.Linear(n_in, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(rate)]
        n_in = width
    return nn.Sequential(*layers)


def arcsinh(x: Tensor) -> Tensor:
    """Return arcsinh, as torch.asinh does in seven times as long."""
    size = x.abs()
    return torch.copysign(torch.log1p(size + x.square() / (1.0 + (x.square() + 1.0).sqrt())), x)


def _fit_amplitude(value: Tensor, weight: Tensor, model: Tensor) -> Tensor:
    """Return by which a model, (B, D), fits best in the weighted least squares, (B,)."""
    best = (weight * value * model).sum(dim=1) / (weight * model.square()).sum(dim=1).clamp(min=_TINY)
    return best.clamp(min=MIN_AMPLITUDE)


def kl_divergence(z_mean: Tensor, z_log_var: Tensor) -> Tensor:
    """Return each latent's mean KL divergence of N(z_mean, exp z_log_var) to N(0, 1), (latents,)."""
    return 0.5 * (z_mean.square() + z_log_var.exp() - 1.0 - z_log_var).mean(dim=0)


def consistency_loss(mean: Tensor, mean2: Tensor, log_var: Tensor, log_var2: Tensor) -> Tensor:
    """Return −ln of the density that two posteriors, (B, latents), give to the distance of their means."""
    variance = log_var.exp() + log_var2.exp()
    return 0.5 * ((mean - mean2).square() / variance + variance.log()).sum(dim=1).mean()


@torch.inference_mode()
def embed(model: SpectrumVAE, batch: Batch) -> dict[str, Tensor]:
    """Say what the model makes of each spectrum; each row's answer depends on that row alone.

    Returns
    -------
    dict of Tensor
        ``z_mean``, ``z_log_var`` (B, latents); ``amplitude`` (B,), by which `reconstruct` is to be
        multiplied to compare with the spectrum; ``recon_mse`` (B,), the mean over valid pixels of
        (arcsinh x − arcsinh x̂)²; ``recon_chi2_red`` (B,), the mean over valid pixels of (x − x̂)² ivar.
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
def decode_flux(model: SpectrumVAE, latents: Tensor, z: Tensor) -> Tensor:
    """Return the decoded spectra of latents (B, latents) at redshifts z (B,): (B, L), linear flux."""
    model.eval()
    return torch.sinh(model.decode(latents, z)[SPECTRUM_KEY])
