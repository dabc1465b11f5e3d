"""Galaxy types suggested by published criteria on measurements, each with a probability and a reason.

An archive lists its rules in order of precedence; `distspec.measurements.galaxy_type_rules` holds those for
high-redshift galaxies. The probability that a rule holds follows from the measurements' Gaussian errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from distspec.core.spectrum import Floats, Floats32
from distspec.core.text import use_minus_signs
from distspec.measurements.criteria import MeasuredValues

UNKNOWN = "unknown"
"""Type of a spectrum for which no rule holds."""
MIN_PROBABILITY, MIN_MENTION_PROBABILITY = 0.5, 0.1
"""Probabilities above which a type is suggested, and above which a rule of higher precedence is mentioned."""
Values = Mapping[str, tuple[float, float]]
"""Value and error of one spectrum's measurements by name."""


class GalaxyTypeSuggestions(NamedTuple):
    """Suggested galaxy types.

    Attributes
    ----------
    galaxy_type : list of str
        Suggested type of each spectrum, or `UNKNOWN`.
    confidence : ndarray of shape (n_spectra,)
        Probability that this type's criteria hold and those of no rule before it; NaN without rules.
    reason : list of str
        Measured values, the criteria with their reference, and rules that are not covered.
    """

    galaxy_type: list[str]
    confidence: Floats32
    reason: list[str]


@dataclass(frozen=True)
class GalaxyTypeRule:
    """Criteria by which a spectrum is suggested to be of a galaxy type.

    Attributes
    ----------
    galaxy_type : str
        The type.
    description : str
        The criteria and their reference, as text for users.
    measurements : tuple of str
        Names of the measurements that the criteria use.
    probability : callable
        Returns the probability that the criteria hold, (n_spectra,), given `MeasuredValues`.
    extra_measurements : tuple of str
        Measurements that the reason also gives, where they are covered.
    any_suffices : bool
        Whether one covered measurement is enough to apply the rule; otherwise it needs all.
    """

    galaxy_type: str
    description: str
    measurements: tuple[str, ...]
    probability: Callable[[MeasuredValues], Floats]
    extra_measurements: tuple[str, ...] = ()
    any_suffices: bool = False


class MeasurementLabel(NamedTuple):
    """How a reason writes a measurement.

    Attributes
    ----------
    text : str
        Symbol or name.
    unit : str
        Unit with a leading space.
    digits : int
        Decimal places.
    """

    text: str
    unit: str
    digits: int


MEASUREMENT_LABELS: Mapping[str, MeasurementLabel] = {
    "beta_uv": MeasurementLabel("β_UV", "", 1),
    "beta_opt": MeasurementLabel("β_opt", "", 1),
    "balmer_ew": MeasurementLabel("EW(Hα)", " Å", 0),
    "halpha_ew": MeasurementLabel("EW(Hα)", " Å", 0),
    "oiii_ew": MeasurementLabel("EW([O III] 4960 + 5008)", " Å", 0),
    "halpha_fwhm": MeasurementLabel("intrinsic FWHM(Hα)", " km/s", 0),
    "nev_ew": MeasurementLabel("EW([Ne V])", " Å", 0),
    "lya_ew": MeasurementLabel("EW(Lyα)", " Å", 0),
    "balmer_break": MeasurementLabel("Balmer break", "", 1),
    "lyman_break": MeasurementLabel("flux ratio across Lyα", "", 1),
    "lowest_snr": MeasurementLabel("lowest S/N of a window", "", 1),
}
"""Labels of measurements in reasons; others are written with their name and two digits."""


def suggest_galaxy_types(
    rules: Sequence[GalaxyTypeRule], values: Mapping[str, Floats32], n_spectra: int
) -> GalaxyTypeSuggestions:
    """Suggest galaxy types: that of the first rule that holds with a probability above 0.5.

    Parameters
    ----------
    rules : sequence of GalaxyTypeRule
        The archive's rules in order of precedence.
    values : mapping of str to ndarray of shape (n_spectra,)
        The columns of the archive's measurements; others are ignored.
    n_spectra : int
        Number of spectra.

    Returns
    -------
    GalaxyTypeSuggestions

    Examples
    --------
    >>> suggest_galaxy_types((), {}, 1).reason
    ['the archive has no galaxy type rules']
    """
    if not rules:
        reasons = ["the archive has no galaxy type rules"] * n_spectra
        return GalaxyTypeSuggestions([UNKNOWN] * n_spectra, np.full(n_spectra, np.nan, np.float32), reasons)
    measured = MeasuredValues(values)
    holds = np.array([rule.probability(measured) for rule in rules])
    is_likely, spectra = holds > MIN_PROBABILITY, np.arange(n_spectra)
    first = np.where(is_likely.any(axis=0), is_likely.argmax(axis=0), len(rules))
    # Probability that no earlier rule holds; in the last row that none does.
    none_before = np.cumprod(np.vstack([np.ones(n_spectra), 1.0 - holds]), axis=0)
    confidence = np.vstack([holds, np.ones(n_spectra)])[first, spectra] * none_before[first, spectra]
    names = {name for rule in rules for name in (*rule.measurements, *rule.extra_measurements)}
    names |= {name for name in ("halpha_ew", "halpha_blue_ew") if name in values}
    columns = {name: measured[name] for name in names}
    galaxy_types = (*(rule.galaxy_type for rule in rules), UNKNOWN)
    reasons = [
        _format_reason(
            rules,
            int(first[i]),
            holds[:, i],
            {name: (float(value[i]), float(error[i])) for name, (value, error) in columns.items()},
        )
        for i in range(n_spectra)
    ]
    return GalaxyTypeSuggestions([galaxy_types[i] for i in first], confidence.astype(np.float32), reasons)


def _format_reason(
    rules: Sequence[GalaxyTypeRule], rule_index: int, probabilities: Floats, measured: Values
) -> str:
    """Return the reason for a suggestion; `rule_index` is ``len(rules)`` if no rule holds."""
    if rule_index == len(rules):
        best = int(np.argmax(probabilities))
        parts = [
            f"no rule holds; most probable {rules[best].galaxy_type} {probabilities[best]:.2f}",
            _format_measurements(rules[best], measured),
        ]
    else:
        parts = [_format_measurements(rules[rule_index], measured), rules[rule_index].description]
    uncovered = [i for i, rule in enumerate(rules) if _lacks_coverage(rule, measured)]
    # The last rule is the most general one: it is mentioned neither as possible nor as true as well.
    possible = [
        i
        for i in range(min(rule_index, len(rules) - 1))
        if probabilities[i] > MIN_MENTION_PROBABILITY and i not in uncovered
    ]
    overlapping = [i for i in range(rule_index + 1, len(rules) - 1) if probabilities[i] > MIN_PROBABILITY]
    for word, others in {"possibly": possible, "also": overlapping}.items():
        if others:
            types = ", ".join(f"{rules[i].galaxy_type} {probabilities[i]:.2f}" for i in others)
            parts.append(f"{word} {types}")
    if uncovered:
        parts.append(f"not covered: {', '.join(rules[i].galaxy_type for i in uncovered)}")
    return "; ".join(parts)


def _lacks_coverage(rule: GalaxyTypeRule, measured: Values) -> bool:
    """Return whether a spectrum does not cover the features of a rule."""
    missing = [np.isnan(measured[name][0]) for name in rule.measurements]
    return all(missing) if rule.any_suffices else any(missing)


def _format_measurements(rule: GalaxyTypeRule, measured: Values) -> str:
    """Return a rule's measurements with their errors as text."""
    parts: list[str] = []
    for name in (*rule.measurements, *rule.extra_measurements):
        label, unit, digits = MEASUREMENT_LABELS.get(name, MeasurementLabel(name, "", 2))
        value, error = measured[name]
        if name == "balmer_ew" and np.isnan([measured["halpha_ew"][0], measured["halpha_blue_ew"][0]]).all():
            label += " from Hβ"
        if name == "lowest_snr":
            parts.append(f"{label} {value:.{digits}f}{unit}")
        elif not np.isnan(value):
            parts.append(f"{label} {value:.{digits}f} ± {error:.{digits}f}{unit}")
        elif name in rule.measurements:
            parts.append(f"{label} not covered")
    return use_minus_signs(", ".join(parts))
