"""Names for kinds of galaxies, suggested by published rules, each with how sure it is and why.

A rule is a few criteria on what `distspec.measurements.definitions` reads off a spectrum, with the thresholds of the papers
that it names. How likely it holds follows from the errors, taken to be Gaussian. A criterion whose window is
not covered holds as likely as not, as one of infinite error would: not covered is not absent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from distspec.core.lines import GALAXY_LINES
from distspec.core.spectrum import Floats, Floats32

DETECTED = 3.0
"""A line is there from so many σ on."""
TO_HALPHA = 2.86 * (GALAXY_LINES["Hα"] / GALAXY_LINES["Hβ"]) ** 2
"""Equivalent width of Hα over Hβ's: case B at 10⁴ K over a continuum that is flat in f_ν."""
_POINTS = (np.arange(32) + 0.5) / 32.0


class Read:
    """What was read off N spectra.

    Parameters
    ----------
    values : mapping
        The columns of `distspec.measurements.measure.measured`, (N,) each; NaN where not covered.
    """

    def __init__(self, values: Mapping[str, Floats32]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> tuple[Floats, Floats]:
        """Return a measure and its error; "balmer_ew" is the best there is of Hα's equivalent width [Å]."""
        if name != "balmer_ew":
            return self._values[name].astype(np.float64), self._values[f"{name}_err"].astype(np.float64)
        value, error = self["halpha_ew"]
        for other, factor in (("halpha_blue_ew", 1.0), ("hbeta_ew", TO_HALPHA)):
            instead, its_error = self[other]
            value, error = (
                np.where(np.isnan(value), factor * instead, value),
                np.where(np.isnan(value), factor * its_error, error),
            )
        return value, error

    def covers(self, name: str) -> NDArray[np.bool_]:
        """Tell of which spectra a measure could be taken, (N,)."""
        return ~np.isnan(self[name][0])

    def above(self, name: str, threshold: float) -> Floats:
        """Return how likely a measure exceeds a threshold, (N,); 0.5 where not covered."""
        value, error = self[name]
        return np.where(np.isnan(value), 0.5, ndtr((value - threshold) / error))

    def below(self, name: str, threshold: float) -> Floats:
        """Return how likely a measure lies below a threshold, (N,); 0.5 where not covered."""
        return 1.0 - self.above(name, threshold)

    def emits(self, thresholds: Mapping[str, float]) -> Floats:
        """Return how likely any covered line is detected and wider than its threshold [Å], (N,).

        0.5 where none is covered.
        """
        none = np.ones_like(self[next(iter(thresholds))][0])
        for name, threshold in thresholds.items():
            value, error = self[name]
            snr = self._values.get(name.replace("_ew", "_snr"))
            detected = ndtr((value / error if snr is None else snr.astype(np.float64)) - DETECTED)
            none *= np.where(self.covers(name), 1.0 - detected * self.above(name, threshold), 1.0)
        covered = np.any([self.covers(name) for name in thresholds], axis=0)
        return np.where(covered, 1.0 - none, 0.5)

    def is_v(self, most: float, least: float, apart: float) -> Floats:
        """Return how likely β_UV < most, β_opt > least and β_opt − β_UV > apart, (N,).

        The third hangs on the other two: the integral over β_UV is done by the quantiles of what lies below
        its threshold.
        """
        (uv, uv_error), (opt, opt_error) = self["beta_uv"], self["beta_opt"]
        blue = self.below("beta_uv", most)
        within = uv[:, None] + uv_error[:, None] * ndtri(np.maximum(_POINTS * blue[:, None], 1e-300))
        within = np.where(self.covers("beta_uv")[:, None], within, -np.inf)
        needed = np.maximum(least, within + apart)
        red = ndtr((opt[:, None] - needed) / opt_error[:, None]).mean(axis=1)
        return blue * np.where(self.covers("beta_opt"), red, 0.5)


ARCHIVES = ("dja", "jades")
"""Kinds of archives whose spectra are named."""
UNKNOWN = "unknown"
LIKELY, PERHAPS = 0.5, 0.1
"""A kind is suggested where its criteria hold more likely than not, and is told of from the second on."""
BETA_UV, BETA_OPT, V_SHAPE = -0.2, 0.0, 0.5
"""A V has β_UV below the first, β_opt above the second, and their difference above the third: Hviding et al.
2025 (A&A 702, A57), who find that every point source with such a V has broad lines. On slopes of photometry,
Kocevski et al. 2025 (ApJ 986, 126) have β_UV < −0.37 and β_opt > 0."""
DORMANT, BREAK = 50.0, 1.4
"""Rest equivalent width of Hα [Å] below, and f_ν(4200 Å) / f_ν(3500 Å) above which a galaxy no longer forms
stars: Covelo-Paz et al. 2025 (arXiv 2506.22540)."""
EXTREME = 750.0
"""Rest equivalent width of [O III] 5008 or of Hα [Å]: Boyett et al. 2024 (MNRAS 535, 1796)."""
EMITTER = 25.0
"""Rest equivalent width of Lyα [Å]: Tang et al. 2024 (ApJ 975, 208), as most since Stark et al. 2011."""
FIRST_GALAXIES = -2.59
"""Mean β_UV of galaxies at z = 11.5, at the blue limit of stars without dust: Cullen et al. 2024 (MNRAS 531,
997)."""
IMPOSSIBLE = 5.0
"""What cannot be is an artefact from so many σ on."""
OF_DOUBLET = 2.98 / 3.98
"""Share of [O III] 5008 in 4960 + 5008 (Storey & Zeippen 2000, MNRAS 312, 813)."""


class Suggested(NamedTuple):
    """What spectra are called: names, how likely their criteria hold and no earlier rule's, and why; (N,)."""

    kind: list[str]
    confidence: Floats32
    why: list[str]


@dataclass(frozen=True)
class Rule:
    """When a spectrum is suggested to be of a kind.

    Attributes
    ----------
    kind : str
    says : str
        The criteria in words, and whose they are.
    shows : tuple of str
        The measures that they are about.
    holds : callable
        How likely they hold of N spectra, (N,).
    beside : tuple of str
        Measures that are told with them where they are covered.
    any_will_do : bool
        Whether it can be told from any one of its measures.
    """

    kind: str
    says: str
    shows: tuple[str, ...]
    holds: Callable[[Read], Floats]
    beside: tuple[str, ...] = ()
    any_will_do: bool = False


def _impossible(read: Read) -> Floats:
    """Return how sure it is that flux is negative, or that more light is left below Lyα than above it."""
    lowest, _ = read["lowest_snr"]
    left, error = read["lyman_break"]
    negative = np.where(np.isnan(lowest), 0.0, ndtr(-IMPOSSIBLE - lowest))
    leaking = np.where(np.isnan(left), 0.0, ndtr((left - 1.0) / error - IMPOSSIBLE))
    return 1.0 - (1.0 - negative) * (1.0 - leaking)


RULES = (
    Rule(
        "artefact",
        f"flux below 0, or more of it below Lyα than above, by {IMPOSSIBLE:g} σ",
        ("lowest_snr", "lyman_break"),
        _impossible,
        any_will_do=True,
    ),
    Rule(
        "LRD",
        f"V-shape: β_UV < −{-BETA_UV:g}, β_opt > {BETA_OPT:g}, apart by {V_SHAPE:g} (Hviding+25); "
        f"not dormant: EW(Hα) > {DORMANT:g} Å (Covelo-Paz+25)",
        ("beta_uv", "beta_opt", "balmer_ew"),
        lambda read: read.is_v(BETA_UV, BETA_OPT, V_SHAPE) * read.above("balmer_ew", DORMANT),
        ("halpha_fwhm",),
    ),
    Rule(
        "quenched",
        f"Balmer break > {BREAK:g}, EW(Hα) < {DORMANT:g} Å (Covelo-Paz+25)",
        ("balmer_break", "balmer_ew"),
        lambda read: read.above("balmer_break", BREAK) * read.below("balmer_ew", DORMANT),
    ),
    Rule(
        "EELG",
        f"EW([O III] 5008) or EW(Hα) > {EXTREME:g} Å (Boyett+24), detected",
        ("oiii_ew", "halpha_ew"),
        lambda read: read.emits({"oiii_ew": EXTREME / OF_DOUBLET, "halpha_ew": EXTREME}),
        any_will_do=True,
    ),
    Rule(
        "LAE",
        f"EW(Lyα) > {EMITTER:g} Å, detected (Tang+24)",
        ("lya_ew",),
        lambda read: read.emits({"lya_ew": EMITTER}),
    ),
    Rule(
        "high-z analog",
        f"β_UV < −{-FIRST_GALAXIES:g}, the mean at z = 11.5 (Cullen+24)",
        ("beta_uv",),
        lambda read: read.below("beta_uv", FIRST_GALAXIES),
    ),
    Rule(
        "star-forming",
        f"EW(Hα) > {DORMANT:g} Å (Covelo-Paz+25)",
        ("balmer_ew",),
        lambda read: read.above("balmer_ew", DORMANT),
    ),
)
"""In order: where several hold the first names the spectrum, and its reason names the others."""
KINDS = (*(rule.kind for rule in RULES), UNKNOWN)
WORDS: Mapping[str, tuple[str, str, int]] = {
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


def suggest(archive: str, values: Mapping[str, Floats32], n: int) -> Suggested:
    """Suggest what kinds of galaxies spectra show.

    Parameters
    ----------
    archive : str
        Kind of the archive that they are from.
    values : mapping
        The columns of `distspec.measurements.measure.measured`, (n,) each, among others.
    n : int
        How many they are.

    Examples
    --------
    >>> suggest("spex", {}, 1).why
    ['no rules for archives of kind spex']
    """
    if archive not in ARCHIVES:
        words = [f"no rules for archives of kind {archive}"] * n
        return Suggested([UNKNOWN] * n, np.full(n, np.nan, np.float32), words)
    read = Read(values)
    holds = np.array([rule.holds(read) for rule in RULES])
    first = np.where((holds > LIKELY).any(axis=0), (holds > LIKELY).argmax(axis=0), len(RULES))
    # Of unknown: that none of the rules holds.
    alone = np.cumprod(np.vstack([np.ones(n), 1.0 - holds]), axis=0)
    confidence = np.vstack([holds, np.ones(n)])[first, np.arange(n)] * alone[first, np.arange(n)]
    shown = {name: read[name] for rule in RULES for name in (*rule.shows, *rule.beside)}
    shown["halpha_blue_ew"] = read["halpha_blue_ew"]
    why: list[str] = []
    for i in range(n):
        one = {name: (float(value[i]), float(error[i])) for name, (value, error) in shown.items()}
        why.append(_reason(int(first[i]), holds[:, i], one))
    return Suggested([KINDS[i] for i in first], confidence.astype(np.float32), why)


def _reason(first: int, holds: Floats, read: Mapping[str, tuple[float, float]]) -> str:
    """Say why a spectrum is called what it is: `first` of `RULES`, or none, by what was `read` off it."""
    if first == len(RULES):
        nearest = int(np.argmax(holds))
        parts = [f"no rule holds; nearest {RULES[nearest].kind} {holds[nearest]:.2f}", _shown(nearest, read)]
    else:
        parts = [_shown(first, read), RULES[first].says]
    unsaid = [i for i, rule in enumerate(RULES) if _cannot_say(rule, read)]
    perhaps = [i for i in range(min(first, len(RULES) - 1)) if holds[i] > PERHAPS and i not in unsaid]
    also = [i for i in range(first + 1, len(RULES) - 1) if holds[i] > LIKELY]
    for word, rules in {"perhaps": perhaps, "also": also}.items():
        if rules:
            parts.append(f"{word} {', '.join(f'{RULES[i].kind} {holds[i]:.2f}' for i in rules)}")
    if unsaid:
        parts.append(f"not covered: {', '.join(RULES[i].kind for i in unsaid)}")
    return "; ".join(parts)


def _cannot_say(rule: Rule, read: Mapping[str, tuple[float, float]]) -> bool:
    """Tell whether what a rule needs is not covered."""
    lost = [np.isnan(read[name][0]) for name in rule.shows]
    return all(lost) if rule.any_will_do else any(lost)


def _shown(rule: int, read: Mapping[str, tuple[float, float]]) -> str:
    """Return a rule's measures with their errors, in words."""
    words: list[str] = []
    for name in (*RULES[rule].shows, *RULES[rule].beside):
        (label, unit, digits), (value, error) = WORDS[name], read[name]
        if name == "balmer_ew" and np.isnan([read["halpha_ew"][0], read["halpha_blue_ew"][0]]).all():
            label += " by Hβ"
        if name == "lowest_snr":
            words.append(f"{label} {value:.{digits}f}{unit}")
        elif not np.isnan(value):
            words.append(f"{label} {value:.{digits}f} ± {error:.{digits}f}{unit}")
        elif name in RULES[rule].shows:
            words.append(f"{label} not covered")
    return ", ".join(words).replace(" -", " −")
