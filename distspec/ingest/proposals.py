"""Settings of a new store that the user leaves to be proposed from the data, and their values in a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from distspec.archives.base import Archive
from distspec.core.errors import ArchiveError
from distspec.core.records import decode_value
from distspec.core.spectrum import Spectrum
from distspec.ingest.source import ArchiveSource
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.proposals import estimate_resolving_power, propose_grid, propose_norm
from distspec.preprocessing.resampling import GridConfig
from distspec.preprocessing.rest_frame import to_rest_frame_batch
from distspec.store.config import StoreConfig


def complete_from_store(source: ArchiveSource, store_config: StoreConfig) -> ArchiveSource:
    """Return a source in which the settings that a store has chosen from its data are those of the store.

    Parameters
    ----------
    source : ArchiveSource
        Archive and requested settings; those that are left to be proposed are 0 or empty.
    store_config : StoreConfig
        Settings of the store.

    Returns
    -------
    ArchiveSource
    """
    stored = store_config.preprocessing
    grid, norm = source.grid, source.norm
    if not grid.is_complete and "grid" in stored:
        known: GridConfig = decode_value(GridConfig, stored["grid"])
        limits = {} if grid.start else {"start": known.start, "stop": known.stop}
        sampling = {} if grid.n_pixels or grid.step else {"n_pixels": known.n_pixels, "step": known.step}
        grid = replace(grid, **limits, **sampling)
    if not norm.is_complete and "norm" in stored:
        chosen: NormConfig = decode_value(NormConfig, stored["norm"])
        norm = replace(
            norm,
            windows=norm.windows or chosen.windows,
            reference_wave=norm.reference_wave or chosen.reference_wave,
        )
    return replace(
        source, grid=grid, norm=norm, archive=_set_proposed(source.archive, stored.get("archive", {}))
    )


def propose_settings(spectra: Sequence[Spectrum], source: ArchiveSource) -> ArchiveSource:
    """Return a source in which all settings that are left to be proposed are chosen from a sample.

    Parameters
    ----------
    spectra : sequence of Spectrum
        Pilot sample.
    source : ArchiveSource
        Archive and requested settings; those that are left to be proposed are 0 or empty.

    Returns
    -------
    ArchiveSource

    Raises
    ------
    ArchiveError
        If the sample does not tell them; the message names the settings.
    """
    archive = source.archive
    missing = [name for name in archive.proposed_settings if not getattr(archive, name)]
    if source.grid.is_complete and source.norm.is_complete and not missing:
        return source
    rest = to_rest_frame_batch(spectra)
    if not rest.index:
        first = next(iter(rest.errors.values()), "none was read")
        raise ArchiveError(
            f"no spectrum of a sample of {len(spectra)} is usable, the first because of {first}"
        )
    grid = propose_grid(rest, source.grid, float(getattr(archive, "resolving_power", 0.0)))
    norm = propose_norm(rest, grid, source.norm)
    values = {"resolving_power": estimate_resolving_power(rest)}
    return replace(source, grid=grid, norm=norm, archive=_set_proposed(archive, values))


def describe_proposals(requested: ArchiveSource, chosen: ArchiveSource) -> list[str]:
    """Return the flags of settings that were proposed, with their values.

    Parameters
    ----------
    requested, chosen : ArchiveSource
        Settings before and after `propose_settings`.

    Returns
    -------
    list of str
        Flags as the command line takes them.
    """
    sections = {"grid": (requested.grid, chosen.grid), "norm": (requested.norm, chosen.norm)}
    flags: list[str] = []
    for section, (before, after) in sections.items():
        flags += [
            f"--{section}.{name.replace('_', '-')} {_format_setting(value)}"
            for name, value in asdict(after).items()
            if value != getattr(before, name)
        ]
    for name in chosen.archive.proposed_settings:
        if getattr(requested.archive, name) != (value := getattr(chosen.archive, name)):
            flags.append(f"--archive.{name.replace('_', '-')} {_format_setting(value)}")
    return flags


def _format_setting(value: Any) -> str:
    return " ".join(map(_format_setting, value)) if isinstance(value, tuple) else f"{value:g}"


def _set_proposed(archive: Archive, values: Mapping[str, Any]) -> Archive:
    """Return an archive whose proposed settings have values where they are 0."""
    settings: Any = archive
    missing = [name for name in archive.proposed_settings if not getattr(archive, name)]
    return replace(settings, **{name: values[name] for name in missing if name in values})
