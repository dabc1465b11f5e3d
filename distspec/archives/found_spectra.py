"""Spectra that were found in a folder of files of any form, their summary for reading, and their table."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from distspec.archives.table_files import SpectrumSummary, compute_digest
from distspec.core.errors import InvalidSpectrumError
from distspec.io.spectra.cleaning import AIR_NOTE, ERROR_NOTE, UNIT_NOTE

MAX_LINES = 12
"""Number of forms, and of notes, that a summary shows; the others are counted."""


@dataclass(frozen=True, slots=True)
class FoundSpectrum:
    """A spectrum in a folder.

    Attributes
    ----------
    object_id : str
        Path of the file below the folder, with "__" between its parts, and the spectrum's identifier in it.
    file_url, uri : str
        The file; with a fragment that numbers the spectrum if there are several.
    form : str
        What the file was understood as, and its columns; "" if it was not understood.
    content : SpectrumSummary
        What the file tells of the spectrum.
    z : float
        Redshift; NaN if unknown.
    z_origin : str
        Where the redshift is from; "" if it is unknown.
    ra, dec : float
        Position [deg]; NaN if unknown.
    source : str
        Identifier of the source in the table, "" if there is none.
    errors : tuple of InvalidSpectrumError
        What keeps it from being used.
    """

    object_id: str
    file_url: str
    uri: str
    form: str = ""
    content: SpectrumSummary = field(default_factory=SpectrumSummary)
    z: float = math.nan
    z_origin: str = ""
    ra: float = math.nan
    dec: float = math.nan
    source: str = ""
    errors: tuple[InvalidSpectrumError, ...] = ()

    @property
    def source_key(self) -> str:
        """Identifier of the source: that of the table, or of the spectrum if there is no position either."""
        return self.source or ("" if math.isfinite(self.ra) else self.object_id)

    @property
    def version(self) -> str:
        """Redshift and checksum of all else; what is wrong with the spectrum if it cannot be used."""
        if self.errors:
            return f"refused-{compute_digest(str(self.errors[0]))}"
        metadata = compute_digest(f"{self.ra:.6f} {self.dec:.6f} {self.source}")
        return f"z={self.z:.6f} {self.content.checksum}-{metadata}"

    @property
    def problem(self) -> str:
        """All that is wrong with the spectrum; "" if it can be used."""
        return "; ".join(map(str, self.errors))

    def folder(self, base: str) -> str:
        """Return the path of the file's folder below another one, "" for files in it.

        Parameters
        ----------
        base : str
            URL of the folder of all files.
        """
        return self.file_url.removeprefix(f"{base}/").rpartition("/")[0]


def tabulate_spectra(found: Sequence[FoundSpectrum], selected: Iterable[str]) -> pa.Table:
    """Return a table with a row for each spectrum: what it was understood as, and what is wrong with it.

    Parameters
    ----------
    found : sequence of FoundSpectrum
        The spectra.
    selected : iterable of str
        Identifiers of those that the options select.
    """
    kept = set(selected)
    rows = [
        {
            "object_id": one.object_id,
            "uri": one.uri,
            "selected": one.object_id in kept,
            "understood_as": one.form,
            "n_pixels": one.content.n_pixels,
            "n_valid": one.content.n_valid,
            "wave_min_um": one.content.wave_min,
            "wave_max_um": one.content.wave_max,
            "pixels_per_e_fold": one.content.sampling,
            "flux_unit": one.content.unit,
            "wavelengths": one.content.medium,
            "errors": one.content.error_origin,
            "z": one.z,
            "z_origin": one.z_origin,
            "ra": one.ra,
            "dec": one.dec,
            "notes": "; ".join(one.content.notes),
            "problem": one.problem,
        }
        for one in found
    ]
    return pa.Table.from_pylist([{k: None if v != v else v for k, v in row.items()} for row in rows])


def summarize_spectra(found: Sequence[FoundSpectrum], assumes_air: bool) -> Iterator[str]:
    """Describe what the spectra were understood as, in a number of lines that does not grow with theirs.

    Parameters
    ----------
    found : sequence of FoundSpectrum
        The spectra.
    assumes_air : bool
        Whether wavelengths are taken as in air where a file does not say so.

    Yields
    ------
    str
        Lines: the forms of the files with ranges and sampling, then wavelengths, errors, units, redshifts,
        positions and what was mended, each with the number of spectra.
    """
    n_files = len({one.file_url for one in found})
    yield f"{_count(len(found), 'spectrum', 'spectra')} in {_count(n_files, 'file', 'files')}, understood as"
    groups: dict[str, list[FoundSpectrum]] = {}
    for one in found:
        groups.setdefault(one.form, []).append(one)
    ordered = sorted(groups.items(), key=lambda item: (not item[0], -len(item[1])))
    for form, members in ordered[:MAX_LINES]:
        yield f"{len(members):>7,}  {form or 'nothing, and refused'}; the first {members[0].object_id}"
        if usable := [one.content for one in members if one.content.n_pixels]:
            yield f"{'':7}  {_describe_ranges(usable)}"
    if len(ordered) > MAX_LINES:
        n_others = sum(len(members) for _, members in ordered[MAX_LINES:])
        yield f"{n_others:>7,}  in {len(ordered) - MAX_LINES:,} further forms"
    readable = [one.content for one in found if one.content.n_pixels]
    if readable:
        unstated = (
            "in air (--archive.air)" if assumes_air else "taken as in vacuum (otherwise: --archive.air)"
        )
        media = {"": unstated, "air": "in air, as the file says", "vacuum": "in vacuum, as the file says"}
        texts = [media[one.medium] for one in readable]
        is_converted = any(text.startswith("in air") for text in texts)
        yield f"wavelengths: {_tally(texts)}{'; those in air are converted' * is_converted}"
        yield f"errors: {_tally(one.error_origin for one in readable)}"
        yield f"flux density: {_tally(one.unit or 'no unit, the shape alone' for one in readable)}"
    yield f"redshifts: {_tally(one.z_origin or 'unknown' for one in found)}"
    yield f"positions: {_tally('known' if math.isfinite(one.ra) else 'unknown' for one in found)}"
    notes = [note for one in readable for note in one.notes if note not in (AIR_NOTE, ERROR_NOTE, UNIT_NOTE)]
    if notes:
        kinds = (re.sub(r"\b\d+\b", "some", note) for note in notes)  # notes differ in their numbers
        yield f"mended: {_tally(f'with {kind}' for kind in kinds)}"


def _describe_ranges(spectra: Sequence[SpectrumSummary]) -> str:
    """Return wavelength range, number of pixels and sampling of spectra."""
    low, high = min(one.wave_min for one in spectra), max(one.wave_max for one in spectra)
    pixels = _format_range([one.n_pixels for one in spectra])
    valid = _format_range([one.n_valid for one in spectra])
    sampling = _format_range([round(one.sampling) for one in spectra])
    return f"{low:.4g}–{high:.4g} um, {pixels} pixels ({valid} valid), λ/Δλ of a pixel {sampling}"


def _format_range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _tally(texts: Iterable[str]) -> str:
    """Return different texts with their numbers, the most frequent first."""
    counts = Counter(texts).most_common()
    parts = [f"{n:,} {text}" for text, n in counts[:MAX_LINES]]
    return ", ".join([*parts, *([f"{len(counts) - MAX_LINES:,} others"] if len(counts) > MAX_LINES else [])])


def _count(n: int, singular: str, plural: str) -> str:
    return f"{n:,} {singular if n == 1 else plural}"
