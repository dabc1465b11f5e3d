"""Names for kinds of galaxies, suggested by published rules, each with how sure it is and why.

A rule is a few criteria on what `distspec.measurements.definitions` reads off a spectrum, with the thresholds of the papers
that it names. How likely it holds follows from the errors, taken to be Gaussian. A criterion whose window is
not covered holds as likely as not, as one of infinite error would: not covered is not absent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from distspec.core.lines import GALAXY_LINES
from distspec.core.spectrum import Floats, Floats32

DETECTION_SNR = 3.0
"""A line is there from so many σ on."""
HALPHA_TO_HBETA_EW = 2.86 * (GALAXY_LINES["Hα"] / GALAXY_LINES["Hβ"]) ** 2
"""Equivalent width of Hα over Hβ's: case B at 10⁴ K over a continuum that is flat in f_ν."""
_QUANTILES = (np.arange(32) + 0.5) / 32.0


class MeasuredValues:
    """What was read off N spectra.

    Parameters
    ----------
    values : mapping
        The columns of `distspec.measurements.measure.list_measurement_columns`, (N,) each; NaN where not covered.
    """

    def __init__(self, values: Mapping[str, Floats32]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> tuple[Floats, Floats]:
        """Return a measure and its error; "balmer_ew" is the best there is of Hα's equivalent width [Å]."""
        if name != "balmer_ew":
            return self._values[name].astype(np.float64), self._values[f"{name}_err"].astype(np.float64)
        value, error = self["halpha_ew"]
        for other, factor in (("halpha_blue_ew", 1.0), ("hbeta_ew", HALPHA_TO_HBETA_EW)):
            instead, its_error = self[other]
            value, error = (
                np.where(np.isnan(value), factor * instead, value),
                np.where(np.isnan(value), factor * its_error, error),
            )
        return value, error

    def is_covered(self, name: str) -> NDArray[np.bool_]:
        """Tell of which spectra a measure could be taken, (N,)."""
        return ~np.isnan(self[name][0])

    def prob_above(self, name: str, threshold: float) -> Floats:
        """Return how likely a measure exceeds a threshold, (N,); 0.5 where not covered."""
        value, error = self[name]
        return np.where(np.isnan(value), 0.5, ndtr((value - threshold) / error))

    def prob_below(self, name: str, threshold: float) -> Floats:
        """Return how likely a measure lies below a threshold, (N,); 0.5 where not covered."""
        return 1.0 - self.prob_above(name, threshold)

    def prob_emission(self, thresholds: Mapping[str, float]) -> Floats:
        """Return how likely any covered line is detected and wider than its threshold [Å], (N,).

        0.5 where none is covered.
        """
        none = np.ones_like(self[next(iter(thresholds))][0])
        for name, threshold in thresholds.items():
            value, error = self[name]
            snr = self._values.get(name.replace("_ew", "_snr"))
            detected = ndtr((value / error if snr is None else snr.astype(np.float64)) - DETECTION_SNR)
            none *= np.where(self.is_covered(name), 1.0 - detected * self.prob_above(name, threshold), 1.0)
        covered = np.any([self.is_covered(name) for name in thresholds], axis=0)
        return np.where(covered, 1.0 - none, 0.5)

    def prob_v_shape(self, max_beta_uv: float, min_beta_opt: float, min_beta_difference: float) -> Floats:
        """Return how likely β_UV < most, β_opt > least and β_opt − β_UV > apart, (N,).

        The third hangs on the other two: the integral over β_UV is done by the quantiles of what lies below
        its threshold.
        """
        (uv, uv_error), (opt, opt_error) = self["beta_uv"], self["beta_opt"]
        blue = self.prob_below("beta_uv", max_beta_uv)
        within = uv[:, None] + uv_error[:, None] * ndtri(np.maximum(_QUANTILES * blue[:, None], 1e-300))
        within = np.where(self.is_covered("beta_uv")[:, None], within, -np.inf)
        needed = np.maximum(min_beta_opt, within + min_beta_difference)
        red = ndtr((opt[:, None] - needed) / opt_error[:, None]).mean(axis=1)
        return blue * np.where(self.is_covered("beta_opt"), red, 0.5)


UNKNOWN = "unknown"
MIN_PROBABILITY, MIN_MENTION_PROBABILITY = 0.5, 0.1
"""A kind is suggested where its criteria hold more likely than not, and is told of from the second on."""
LRD_MAX_BETA_UV, LRD_MIN_BETA_OPT, LRD_MIN_BETA_DIFFERENCE = -0.2, 0.0, 0.5
"""A V has β_UV below the first, β_opt above the second, and their difference above the third: Hviding et al.
2025 (A&A 702, A57), who find that every point source with such a V has broad lines. On slopes of photometry,
Kocevski et al. 2025 (ApJ 986, 126) have β_UV < −0.37 and β_opt > 0."""
QUIESCENT_HALPHA_EW, QUIESCENT_MIN_BALMER_BREAK = 50.0, 1.4
"""Rest equivalent width of Hα [Å] below, and f_ν(4200 Å) / f_ν(3500 Å) above which a galaxy no longer forms
stars: Covelo-Paz et al. 2025 (arXiv 2506.22540)."""
EELG_MIN_EW = 750.0
"""Rest equivalent width of [O III] 5008 or of Hα [Å]: Boyett et al. 2024 (MNRAS 535, 1796)."""
LAE_MIN_EW = 25.0
"""Rest equivalent width of Lyα [Å]: Tang et al. 2024 (ApJ 975, 208), as most since Stark et al. 2011."""
HIGH_Z_ANALOG_MAX_BETA_UV = -2.59
"""Mean β_UV of galaxies at z = 11.5, at the blue limit of stars without dust: Cullen et al. 2024 (MNRAS 531,
997)."""
UNPHYSICAL_SIGMA = 5.0
"""What cannot be is an artefact from so many σ on."""
OIII_5008_FRACTION = 2.98 / 3.98
"""Share of [O III] 5008 in 4960 + 5008 (Storey & Zeippen 2000, MNRAS 312, 813)."""


class GalaxyTypeSuggestions(NamedTuple):
    """What spectra are called: names, how likely their criteria hold and no earlier rule's, and why; (N,)."""

    galaxy_type: list[str]
    confidence: Floats32
    reason: list[str]


@dataclass(frozen=True)
class GalaxyTypeRule:
    """When a spectrum is suggested to be of a kind.

    Attributes
    ----------
    galaxy_type : str
    description : str
        The criteria in words, and whose they are.
    measurements : tuple of str
        The measures that they are about.
    probability : callable
        How likely they hold of N spectra, (N,).
    extra_measurements : tuple of str
        Measures that are told with them where they are covered.
    any_suffices : bool
        Whether it can be told from any one of its measures.
    """

    galaxy_type: str
    description: str
    measurements: tuple[str, ...]
    probability: Callable[[MeasuredValues], Floats]
    extra_measurements: tuple[str, ...] = ()
    any_suffices: bool = False


def _unphysical_probability(measured: MeasuredValues) -> Floats:
    """Return how sure it is that flux is negative, or that more light is left below Lyα than above it."""
    lowest, _ = measured["lowest_snr"]
    left, error = measured["lyman_break"]
    negative = np.where(np.isnan(lowest), 0.0, ndtr(-UNPHYSICAL_SIGMA - lowest))
    leaking = np.where(np.isnan(left), 0.0, ndtr((left - 1.0) / error - UNPHYSICAL_SIGMA))
    return 1.0 - (1.0 - negative) * (1.0 - leaking)


GALAXY_TYPE_RULES = (
    GalaxyTypeRule(
        "artefact",
        f"flux below 0, or more of it below Lyα than above, by {UNPHYSICAL_SIGMA:g} σ",
        ("lowest_snr", "lyman_break"),
        _unphysical_probability,
        any_suffices=True,
    ),
    GalaxyTypeRule(
        "LRD",
        f"V-shape: β_UV < −{-LRD_MAX_BETA_UV:g}, β_opt > {LRD_MIN_BETA_OPT:g}, apart by {LRD_MIN_BETA_DIFFERENCE:g} (Hviding+25); "
        f"not dormant: EW(Hα) > {QUIESCENT_HALPHA_EW:g} Å (Covelo-Paz+25)",
        ("beta_uv", "beta_opt", "balmer_ew"),
        lambda read: (
            read.prob_v_shape(LRD_MAX_BETA_UV, LRD_MIN_BETA_OPT, LRD_MIN_BETA_DIFFERENCE)
            * read.prob_above("balmer_ew", QUIESCENT_HALPHA_EW)
        ),
        ("halpha_fwhm",),
    ),
    GalaxyTypeRule(
        "quenched",
        f"Balmer break > {QUIESCENT_MIN_BALMER_BREAK:g}, EW(Hα) < {QUIESCENT_HALPHA_EW:g} Å (Covelo-Paz+25)",
        ("balmer_break", "balmer_ew"),
        lambda read: (
            read.prob_above("balmer_break", QUIESCENT_MIN_BALMER_BREAK)
            * read.prob_below("balmer_ew", QUIESCENT_HALPHA_EW)
        ),
    ),
    GalaxyTypeRule(
        "EELG",
        f"EW([O III] 5008) or EW(Hα) > {EELG_MIN_EW:g} Å (Boyett+24), detected",
        ("oiii_ew", "halpha_ew"),
        lambda read: read.prob_emission(
            {"oiii_ew": EELG_MIN_EW / OIII_5008_FRACTION, "halpha_ew": EELG_MIN_EW}
        ),
        any_suffices=True,
    ),
    GalaxyTypeRule(
        "LAE",
        f"EW(Lyα) > {LAE_MIN_EW:g} Å, detected (Tang+24)",
        ("lya_ew",),
        lambda read: read.prob_emission({"lya_ew": LAE_MIN_EW}),
    ),
    GalaxyTypeRule(
        "high-z analog",
        f"β_UV < −{-HIGH_Z_ANALOG_MAX_BETA_UV:g}, the mean at z = 11.5 (Cullen+24)",
        ("beta_uv",),
        lambda read: read.prob_below("beta_uv", HIGH_Z_ANALOG_MAX_BETA_UV),
    ),
    GalaxyTypeRule(
        "star-forming",
        f"EW(Hα) > {QUIESCENT_HALPHA_EW:g} Å (Covelo-Paz+25)",
        ("balmer_ew",),
        lambda read: read.prob_above("balmer_ew", QUIESCENT_HALPHA_EW),
    ),
)
"""In order: where several hold the first names the spectrum, and its reason names the others."""
GALAXY_TYPES = (*(rule.galaxy_type for rule in GALAXY_TYPE_RULES), UNKNOWN)
MEASUREMENT_LABELS: Mapping[str, tuple[str, str, int]] = {
    "beta_uv": ("β_UV", "", 1),
    "beta_opt": ("β_opt", "", 1),
    "balmer_ew": ("EW(Hα)", " Å", 0),
    "halpha_ew": ("EW(Hα)", " Å", 0),
    "oiii_ew": ("EW([O III] 4960 + 5008)", " Å", 0),
    "halpha_fwhm": ("Hα broader than the instrument by", " km/s", 0),
    "lya_ew": ("EW(Lyα)", " Å", 0),
    "balmer_break": ("Balmer break", "", 1),
    "lyman_break": ("light left below Lyα", "", 1),
    "lowest_snr": ("lowest window at", " σ", 1),
}
"""How measures are called in reasons: name, unit, digits."""


def suggest_galaxy_types(
    rules: Sequence[GalaxyTypeRule], values: Mapping[str, Floats32], n_spectra: int
) -> GalaxyTypeSuggestions:
    """Suggest what kinds of galaxies spectra show.

    Parameters
    ----------
    rules : sequence of GalaxyTypeRule
        `distspec.archives.base.Archive.galaxy_types`, in order of precedence.
    values : mapping
        The columns of `distspec.measurements.measure.list_measurement_columns`, (n,) each, among others.
    n_spectra : int
        How many they are.

    Examples
    --------
    >>> suggest_galaxy_types((), {}, 1).reason
    ['the archive has no galaxy type rules']
    """
    if not rules:
        words = ["the archive has no galaxy type rules"] * n_spectra
        return GalaxyTypeSuggestions([UNKNOWN] * n_spectra, np.full(n_spectra, np.nan, np.float32), words)
    read = MeasuredValues(values)
    holds = np.array([rule.probability(read) for rule in rules])
    first = np.where(
        (holds > MIN_PROBABILITY).any(axis=0),
        (holds > MIN_PROBABILITY).argmax(axis=0),
        len(rules),
    )
    # Of unknown: that none of the rules holds.
    alone = np.cumprod(np.vstack([np.ones(n_spectra), 1.0 - holds]), axis=0)
    confidence = (
        np.vstack([holds, np.ones(n_spectra)])[first, np.arange(n_spectra)]
        * alone[first, np.arange(n_spectra)]
    )
    shown = {
        name: read[name]
        for rule in rules
        for name in (*rule.measurements, *rule.extra_measurements)
    }
    balmer_columns = [name for name in ("halpha_ew", "halpha_blue_ew") if name in values]
    shown |= {name: read[name] for name in balmer_columns}
    galaxy_types = (*(rule.galaxy_type for rule in rules), UNKNOWN)
    why: list[str] = []
    for i in range(n_spectra):
        one = {name: (float(value[i]), float(error[i])) for name, (value, error) in shown.items()}
        why.append(_format_reason(rules, int(first[i]), holds[:, i], one))
    return GalaxyTypeSuggestions([galaxy_types[i] for i in first], confidence.astype(np.float32), why)


def _format_reason(
    rules: Sequence[GalaxyTypeRule],
    rule_index: int,
    probabilities: Floats,
    measured: Mapping[str, tuple[float, float]],
) -> str:
    """Say why a spectrum is called what it is: `rule_index` of `rules`, or none, by what was `measured` off it."""
    if rule_index == len(rules):
        nearest = int(np.argmax(probabilities))
        parts = [
            f"no rule holds; nearest {rules[nearest].galaxy_type} {probabilities[nearest]:.2f}",
            _format_measurements(rules[nearest], measured),
        ]
    else:
        parts = [_format_measurements(rules[rule_index], measured), rules[rule_index].description]
    unsaid = [i for i, rule in enumerate(rules) if _lacks_coverage(rule, measured)]
    perhaps = [
        i
        for i in range(min(rule_index, len(rules) - 1))
        if probabilities[i] > MIN_MENTION_PROBABILITY and i not in unsaid
    ]
    also = [
        i for i in range(rule_index + 1, len(rules) - 1) if probabilities[i] > MIN_PROBABILITY
    ]
    for word, others in {"perhaps": perhaps, "also": also}.items():
        if others:
            parts.append(
                f"{word} {', '.join(f'{rules[i].galaxy_type} {probabilities[i]:.2f}' for i in others)}"
            )
    if unsaid:
        parts.append(f"not covered: {', '.join(rules[i].galaxy_type for i in unsaid)}")
    return "; ".join(parts)


def _lacks_coverage(rule: GalaxyTypeRule, measured: Mapping[str, tuple[float, float]]) -> bool:
    """Tell whether what a rule needs is not covered."""
    lost = [np.isnan(measured[name][0]) for name in rule.measurements]
    return all(lost) if rule.any_suffices else any(lost)


def _format_measurements(rule: GalaxyTypeRule, measured: Mapping[str, tuple[float, float]]) -> str:
    """Return a rule's measures with their errors, in words."""
    words: list[str] = []
    for name in (
        *rule.measurements,
        *rule.extra_measurements,
    ):
        (label, unit, digits), (value, error) = MEASUREMENT_LABELS.get(name, (name, "", 2)), measured[name]
        if name == "balmer_ew" and np.isnan([measured["halpha_ew"][0], measured["halpha_blue_ew"][0]]).all():
            label += " by Hβ"
        if name == "lowest_snr":
            words.append(f"{label} {value:.{digits}f}{unit}")
        elif not np.isnan(value):
            words.append(f"{label} {value:.{digits}f} ± {error:.{digits}f}{unit}")
        elif name in rule.measurements:
            words.append(f"{label} not covered")
    return ", ".join(words).replace(" -", " −")
