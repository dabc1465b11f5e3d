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
from distspec.models.lsf import Instrument
from distspec.models.ppca import Components, arcsinh_moments, fit_components

SPECTRUM = "spectrum"
AMPLITUDE_FLOOR = 0.3
"""Scatter about the mean spectrum, in `spread`, when its amplitude is fitted to one of the sample."""
TRUSTED = 0.1
"""A pixel whose variance [spread²] is this counts as much as what the others say of it."""
MIN_AMPLITUDE = 0.05
MIN_REPEATS = 30
"""Sources seen twice that are needed to say how wide posteriors must be."""
CLIPPED, CLIPPINGS = 5.0, 10
CHI2_MEDIAN = 0.4549
"""Of χ² of one degree of freedom."""
_TINY = 1e-12


class Measured(NamedTuple):
    """One named input as stored.

    value : (B, d), linear
    ivar : (B, d), 0 = masked
    """

    value: Tensor
    ivar: Tensor


@dataclass(frozen=True)
class Batch:
    """Objects to train on or to embed: named inputs, and each one's redshift (B,)."""

    inputs: Mapping[str, Measured]
    z: Tensor

    @classmethod
    def of_spectra(cls, flux: Tensor, ivar: Tensor, z: Tensor) -> Batch:
        """Return objects of which spectra are known: flux, ivar (B, L) [f_λ / f_λ(reference)], z (B,)."""
        return cls({SPECTRUM: Measured(flux, ivar)}, z)

    @property
    def spectrum(self) -> Measured:
        """The spectra."""
        return self.inputs[SPECTRUM]

    def __len__(self) -> int:
        return len(self.z)

    def __getitem__(self, rows: Any) -> Batch:
        """Return some of the objects: a slice, indices or flags."""
        inputs = {name: Measured(m.value[rows], m.ivar[rows]) for name, m in self.inputs.items()}
        return Batch(inputs, self.z[rows])

    def to(self, device: Any) -> Batch:
        """Return the same objects on a device."""
        inputs = {
            name: Measured(*(t.to(device, non_blocking=True) for t in m)) for name, m in self.inputs.items()
        }
        return Batch(inputs, self.z.to(device, non_blocking=True))


class View(NamedTuple):
    """Joined inputs: value and ivar (B, D), linear, 0 where masked; redshift (B,)."""

    value: Tensor
    ivar: Tensor
    z: Tensor

    def and_then(self, other: View) -> View:
        """Return these objects and then others, as one."""
        return View(*(torch.cat(pair) for pair in zip(self, other, strict=True)))


class SpectrumVAE(nn.Module):
    """Variational autoencoder of a named set of masked vectors.

    Parameters
    ----------
    sizes : mapping of input name to its length
    config : VAEConfig
    wave_rest : (L,) [Å]
        Of the spectrum's pixels, for what depends on wavelength.
    """

    mean: Tensor
    spread: Tensor
    z_moments: Tensor
    widening: Tensor
    visible: Tensor

    def __init__(
        self, sizes: Mapping[str, int], config: VAEConfig, wave_rest: NDArray[np.float64] | None = None
    ) -> None:
        super().__init__()
        self.sizes, self.config = dict(sizes), config
        total, narrowest, q = sum(self.sizes.values()), config.hidden[-1], config.n_latents
        n_z = 3 if config.condition_on_z else 0
        n_in = total * (1 + config.impute) + q * config.linear + n_z
        self.encoder = _stack(n_in, config.hidden, config.dropout)
        self.to_mean = nn.Linear(narrowest, q)
        self.to_log_var = nn.Linear(narrowest, q)
        rates = config.dropout if config.decoder_dropout else (0.0,) * len(config.hidden)
        self.decoder = _stack(q + n_z, config.hidden[::-1], rates[::-1])
        self.to_output = nn.Linear(config.hidden[0], total)
        if config.linear:
            self.linear = nn.Linear(q + n_z, total)
            for correction in (self.to_mean, self.to_log_var, self.to_output):
                nn.init.zeros_(correction.weight)
                nn.init.zeros_(correction.bias)
        self.components = Components(q, n_z, total) if config.linear or config.impute else None
        self.instrument = _instrument(config, wave_rest)
        visible = torch.ones(total)
        if config.hide_below and wave_rest is not None:
            visible[: len(wave_rest)] = torch.from_numpy(wave_rest > config.hide_below)
        self.register_buffer("visible", visible, persistent=False)
        if config.standardise:
            self.register_buffer("mean", torch.zeros(total))
            self.register_buffer("spread", torch.ones(total))
        if config.condition_on_z:
            self.register_buffer("z_moments", torch.tensor([0.0, 1.0]))
        if config.calibrate:
            self.register_buffer("widening", torch.zeros(q))

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the posterior's mean and log variance, (B, latents) each."""
        mean, log_var = self._posterior(self._joined(batch))
        return mean, log_var + self.widening if self.config.calibrate else log_var

    def decode(self, latent: Tensor, z: Tensor) -> dict[str, Tensor]:
        """Return reconstructions by input name, (B, d) each, arcsinh of what is stored.

        Parameters
        ----------
        latent : (B, latents)
        z : (B,)
            Redshifts at which to decode.
        """
        parts = self._decoded(latent, z).split(list(self.sizes.values()), dim=1)
        return dict(zip(self.sizes, parts, strict=True))

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Return the objective to minimise, "total", and its terms: means over the batch.

        Parameters
        ----------
        batch : Batch
        step : int
            Steps taken so far.
        """
        config, seen = self.config, self._joined(batch)
        target = seen
        if config.has_second_view:
            one, other = self._halves(seen) if config.halves else (seen, seen)
            # Noise must not predict itself: each half is held against the other.
            target = View(other.value, seen.ivar, seen.z).and_then(View(one.value, seen.ivar, seen.z))
            seen = one.and_then(self._elsewhere(other))
        mean, log_var = self._posterior(seen)
        latent = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        recon = self._misfit(target, self._decoded(latent, target.z), step).mean()
        kl_each = kl_divergence(mean, log_var)
        terms = {"recon": recon, "kl": kl_each.sum(), "l2": self.l2_penalty()}
        cost = (kl_each - config.free_bits).clamp(min=0.0).sum() if config.free_bits else terms["kl"]
        total = recon + config.kl_weight * cost + terms["l2"]
        if config.agreement:
            terms["agreement"] = disagreement(*mean.chunk(2), *log_var.chunk(2))
            total = total + config.agreement * terms["agreement"]
        return {"total": total, **terms}

    def validation(self, batch: Batch) -> dict[str, Tensor]:
        """Return "recon", by which training stops, and "kl": sums over the batch, decoded from z_mean."""
        view = self._joined(batch)
        mean, log_var = self._posterior(view)
        recon = self._misfit(view, self._decoded(mean, view.z), self.config.floor_steps)
        return {"recon": recon.sum(), "kl": kl_divergence(mean, log_var).sum() * len(batch)}

    @torch.no_grad()
    def prepare(self, batch: Batch) -> None:
        """Set what the model takes from its training spectra before the first step; once, on a sample."""
        config, view = self.config, self._joined(batch)
        if config.condition_on_z:
            ln = torch.log1p(view.z)
            self.z_moments.copy_(torch.stack([ln.mean(), ln.std().clamp(min=1e-3)]))
        if config.standardise:
            for _ in range(2 if config.profile_amplitude else 1):
                mean, spread = arcsinh_moments(view.value, view.ivar)
                self.mean.copy_(mean)
                self.spread.copy_(spread)
                view = self._scaled(view)
        if self.components is not None:
            y, variance = self._standardised(view)
            terms = self._z_terms(view.z)
            fit_components(self.components, y, variance, self._native_pixels(view.z), terms)
            if config.linear:
                self.linear.weight.copy_(torch.cat([self.components.axes, self.components.z_slopes]).T)
                self.linear.bias.zero_()

    @torch.no_grad()
    def calibrate(self, one: Batch, other: Batch) -> None:
        """Widen posteriors, each latent's by one factor, until repeats differ as much as they say.

        Parameters
        ----------
        one, other : Batch
            Two observations of each of some sources. Noise and redshift errors count; the few pairs that
            disagree by more than `CLIPPED` σ, by artefacts, do not.
        """
        if not self.config.calibrate or len(one) < MIN_REPEATS:
            return
        self.eval()
        (mean, log_var), (mean2, log_var2) = (self._posterior(self._joined(b)) for b in (one, other))
        squared = (mean - mean2).square() / (log_var.exp() + log_var2.exp())
        ratio = squared.median(dim=0).values / CHI2_MEDIAN
        for _ in range(CLIPPINGS):
            kept = squared < CLIPPED**2 * ratio
            ratio = (squared * kept).sum(dim=0) / kept.sum(dim=0)
        self.widening.copy_(ratio.clamp(min=1e-3).log())

    def l2_penalty(self) -> Tensor:
        """Return the summed squares of the hidden layers' kernels times their weight."""
        kernels = [m.weight for m in (*self.encoder, *self.decoder) if isinstance(m, nn.Linear)]
        return self.config.l2 * torch.stack([kernel.square().sum() for kernel in kernels]).sum()

    def amplitude(self, batch: Batch, recon: Tensor) -> Tensor:
        """Return by which linear reconstructions, (B, L), fit their spectra best, (B,); 1 if not profiled."""
        if not self.config.profile_amplitude:
            return torch.ones_like(batch.z)
        flux, ivar = batch.spectrum
        weight = ivar * self._native_pixels(batch.z)[:, : recon.shape[1]]
        return _best_amplitude(torch.where(ivar > 0, flux, 0.0), weight, recon)

    def _joined(self, batch: Batch) -> View:
        """Return the named inputs end to end, in the order of `sizes`: the spectrum first."""
        value, ivar = (torch.cat([batch.inputs[n][k] for n in self.sizes], dim=1) for k in (0, 1))
        return View(torch.where(ivar > 0, value, 0.0), ivar, batch.z)

    def _posterior(self, view: View) -> tuple[Tensor, Tensor]:
        config = self.config
        view = self._scaled(View(view.value * self.visible, view.ivar * self.visible, view.z))
        y, variance = self._standardised(view)
        given, mean, log_var = [y, self._z_terms(view.z)], 0.0, 0.0
        if self.components is not None:
            counts = self._native_pixels(view.z)
            mean, width, estimate = self.components.posterior(y, variance, counts, given[1])
            if config.impute:
                trust = TRUSTED / (TRUSTED + variance)
                given[0] = (estimate + trust * (y - estimate)).clamp(-10.0, 10.0)
                given.append(trust)
            log_var = width.log()
            if config.linear:
                given.append(0.5 * log_var)
        hidden = self.encoder(torch.cat(given, dim=1))
        with torch.autocast(hidden.device.type, enabled=False):
            moved, widened = self.to_mean(hidden.float()), self.to_log_var(hidden.float())
        if not config.linear:
            return moved, widened
        return mean + moved, (log_var + widened).clamp(-14.0, 4.0)

    def _decoded(self, latent: Tensor, z: Tensor) -> Tensor:
        """Return arcsinh reconstructions, (B, D), before any amplitude."""
        config, given = self.config, torch.cat([latent, self._z_terms(z)], dim=1)
        hidden = self.decoder(given)
        with torch.autocast(z.device.type, enabled=False):  # half precision is coarser than good spectra
            out = self.to_output(hidden.float())
            if config.linear:
                out = out + self.linear(given.float())
        if config.standardise:
            out = self.mean + self.spread * out
        if config.likelihood == "gaussian":
            out = out.clamp(-7.0, 7.0)  # sinh of more overflows before training has begun
        if config.blur and self.instrument is not None:
            n = self.instrument.n_pixels
            seen = torch.asinh(self.instrument.observe(torch.sinh(out[:, :n]), z))
            out = torch.cat([seen, out[:, n:]], dim=1)
        return out

    def _misfit(self, view: View, out: Tensor, step: int) -> Tensor:
        """Return how badly arcsinh reconstructions fit, (B,): squared error, or −ln of the likelihood."""
        config, valid = self.config, view.ivar > 0
        if config.likelihood == "mse":
            return torch.where(valid, (arcsinh(view.value) - out).square(), 0.0).sum(dim=1)
        first, last = config.floor
        floor = first * (last / first) ** min(1.0, step / config.floor_steps)
        model, counts, noise = torch.sinh(out), self._native_pixels(view.z), 1.0 / view.ivar.clamp(min=_TINY)
        spread = self.spread if config.standardise else torch.ones_like(out)
        # A scatter in arcsinh flux is √(1 + x²) times as large in linear flux.
        extra = (floor * spread).square() * (1.0 + model.detach().square())
        if config.profile_amplitude:
            weight = torch.where(valid, counts / (noise + extra), 0.0)
            amplitude = _best_amplitude(view.value, weight, model)[:, None]
            model, extra = amplitude * model, amplitude.detach().square() * extra
        chi2 = torch.where(valid, (view.value - model).square() / (noise + extra), 0.0)
        if config.student:
            chi2 = (config.student + 1.0) * torch.log1p(chi2 / config.student)
        return 0.5 * (counts * chi2).sum(dim=1)

    def _scaled(self, view: View) -> View:
        """Divide by the amplitude at which the mean spectrum fits what the encoder may see."""
        if not self.config.profile_amplitude:
            return view
        template = torch.sinh(self.mean).expand_as(view.value)
        first = _best_amplitude(view.value, view.ivar, template)[:, None]
        # The scatter about the template is as large as the spectrum: brightness itself must not be seen.
        scatter = (AMPLITUDE_FLOOR * first * self.spread * torch.cosh(self.mean)).square()
        weight = torch.where(view.ivar > 0, 1.0 / (1.0 / view.ivar.clamp(min=_TINY) + scatter), 0.0)
        by = _best_amplitude(view.value, weight, template)[:, None]
        return View(view.value / by, view.ivar * by.square(), view.z)

    def _standardised(self, view: View) -> tuple[Tensor, Tensor]:
        """Return standardised arcsinh flux, 0 where masked, and its variance, very large there, (B, D)."""
        y = arcsinh(view.value)
        if not self.config.standardise:
            return y, torch.ones_like(y)
        precision = view.ivar * (1.0 + view.value.clamp(min=0.0).square()) * self.spread.square()
        y = torch.where(view.ivar > 0, (y - self.mean) / self.spread, 0.0)
        return y, 1.0 / precision.clamp(min=_TINY)

    def _z_terms(self, z: Tensor) -> Tensor:
        """Return what the networks are told of redshifts, (B, 3): Hermite polynomials of scaled ln(1 + z)."""
        if not self.config.condition_on_z:
            return z.new_zeros(len(z), 0)
        t = ((torch.log1p(z) - self.z_moments[0]) / self.z_moments[1]).clamp(-4.0, 4.0)
        return torch.stack([t, t.square() - 1.0, (t**3 - 3.0 * t) / 3.0], dim=1)

    def _native_pixels(self, z: Tensor) -> Tensor:
        """Return how many measurements each value counts for, (B, D)."""
        ones = z.new_ones(len(z), sum(self.sizes.values()))
        if self.instrument is None:
            return ones
        n = self.instrument.n_pixels
        return torch.cat([self.instrument.native_pixels(z), ones[:, n:]], dim=1)

    def _halves(self, view: View) -> tuple[View, View]:
        """Split the light in two with independent noise: x + kε and x − ε/k, ε as noisy as x.

        Data thinning of Gaussians (Neufeld et al. 2024, JMLR 25, 57).
        """
        k = torch.exp(1.4 * torch.rand_like(view.z) - 0.7)[:, None]
        noise = torch.randn_like(view.value)
        noise = torch.where(view.ivar > 0, noise * view.ivar.clamp(min=_TINY).rsqrt(), 0.0)
        one = View(view.value + k * noise, view.ivar / (1.0 + k.square()), view.z)
        return one, View(view.value - noise / k, view.ivar / (1.0 + k.square().reciprocal()), view.z)

    def _elsewhere(self, view: View) -> View:
        """Return spectra as they might also have been observed."""
        config, (value, ivar, z) = self.config, view
        if config.shift_z and self.instrument is not None:
            n, to = self.instrument.n_pixels, z[torch.randperm(len(z), device=z.device)]
            # Nothing can be made sharper: towards larger z only the coverage changes.
            label, mask = torch.minimum(z, to), (ivar[:, :n] > 0).to(value.dtype)
            flux = self.instrument.degrade(value[:, :n], mask, z, label)
            value = torch.cat([flux, value[:, n:]], dim=1)
            ivar = torch.cat([ivar[:, :n] * self.instrument.covers(to), ivar[:, n:]], dim=1)
            z = label
        if config.renoise:
            k = config.renoise * torch.rand_like(z)[:, None]
            value = value + k * torch.randn_like(value) * ivar.clamp(min=_TINY).rsqrt()
            ivar = ivar / (1.0 + k.square())
        if config.rescale:
            by = torch.exp(config.rescale * torch.randn_like(z))[:, None]
            value, ivar = value * by, ivar / by.square()
        return View(torch.where(ivar > 0, value, 0.0), ivar, z)


def _instrument(config: VAEConfig, wave_rest: NDArray[np.float64] | None) -> Instrument | None:
    return Instrument(wave_rest, config.resolution) if config.resolution and wave_rest is not None else None


def _stack(n_in: int, widths: tuple[int, ...], dropout: tuple[float, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, rate in zip(widths, dropout, strict=True):
        layers += [nn.Linear(n_in, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(rate)]
        n_in = width
    return nn.Sequential(*layers)


def arcsinh(x: Tensor) -> Tensor:
    """Return arcsinh, as torch.asinh does in seven times as long."""
    size = x.abs()
    return torch.copysign(torch.log1p(size + x.square() / (1.0 + (x.square() + 1.0).sqrt())), x)


def _best_amplitude(value: Tensor, weight: Tensor, model: Tensor) -> Tensor:
    """Return by which a model, (B, D), fits best in the weighted least squares, (B,)."""
    best = (weight * value * model).sum(dim=1) / (weight * model.square()).sum(dim=1).clamp(min=_TINY)
    return best.clamp(min=MIN_AMPLITUDE)


def kl_divergence(z_mean: Tensor, z_log_var: Tensor) -> Tensor:
    """Return each latent's mean KL divergence of N(z_mean, exp z_log_var) to N(0, 1), (latents,)."""
    return 0.5 * (z_mean.square() + z_log_var.exp() - 1.0 - z_log_var).mean(dim=0)


def disagreement(mean: Tensor, mean2: Tensor, log_var: Tensor, log_var2: Tensor) -> Tensor:
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
    scaled = model.decode(z_mean, batch.z)[SPECTRUM]
    recon = torch.sinh(scaled)
    amplitude = model.amplitude(batch, recon)
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
def reconstruct(model: SpectrumVAE, latent: Tensor, z: Tensor) -> Tensor:
    """Return the decoded spectra of latents (B, latents) at redshifts z (B,): (B, L), linear flux."""
    model.eval()
    return torch.sinh(model.decode(latent, z)[SPECTRUM])
