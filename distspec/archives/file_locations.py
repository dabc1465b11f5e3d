"""Locations of an archive's files that lie in one or several folders and buckets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from distspec.core.errors import ArchiveError, InvalidSpectrumError, QuarantineReason
from distspec.io.remote.config import AccessConfig
from distspec.io.remote.files import ArchiveClient, open_archive_client, run_coroutine

N_GROUP_PROBES = 3
"""Number of files of a group that are probed on a server; one that exists is enough."""


def locate_files(
    path_templates: Mapping[str, Sequence[str]],
    rows: Sequence[Mapping[str, str]],
    group_by: str,
    access: AccessConfig,
) -> list[str]:
    """Return the URLs of files, each below the first of several places that has it.

    A local file is looked for itself. On servers the files of a group are together, so that up to
    `N_GROUP_PROBES` of them are probed in each place.

    Parameters
    ----------
    path_templates : mapping of str to sequence of str
        For each place, a folder or bucket by its absolute URL, in the order in which they are tried: paths
        below it, with names of row fields in braces.
    rows : sequence of mapping
        Fields of the files.
    group_by : str
        Field whose value is that of all files of a group.
    access : AccessConfig
        Credentials, limits and timeouts, the same for all places.

    Returns
    -------
    list of str
        URL of each file; that in the first place, of the first path, if no place has it.

    Raises
    ------
    ArchiveError
        If a place does not answer.
    """
    return run_coroutine(_locate_files(path_templates, rows, group_by, access))


async def _locate_files(
    path_templates: Mapping[str, Sequence[str]],
    rows: Sequence[Mapping[str, str]],
    group_by: str,
    access: AccessConfig,
) -> list[str]:
    patterns = [f"{base}/{path}" for base, paths in path_templates.items() for path in paths]
    urls = [patterns[0].format(**row) for row in rows]
    missing = np.arange(len(rows))
    async with open_archive_client(list(path_templates), access) as client:
        for pattern in patterns:
            found = await _find_existing(client, pattern, [rows[i] for i in missing.tolist()], group_by)
            for i in missing[found].tolist():
                urls[i] = pattern.format(**rows[i])
            missing = missing[~found]
            if not len(missing):
                break
    return urls


async def _find_existing(
    client: ArchiveClient, pattern: str, rows: Sequence[Mapping[str, str]], group_by: str
) -> NDArray[np.bool_]:
    """Return which files exist under a path; on a server, whether any file of their group does."""
    groups: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        key = str(i) if pattern.startswith("file://") else row[group_by]
        groups.setdefault(key, []).append(i)

    async def exists(group: list[int]) -> bool:
        probes = group[:: max(1, len(group) // N_GROUP_PROBES)][:N_GROUP_PROBES]
        for i in probes:
            try:
                await client.get_file(pattern.format(**rows[i])).read_head(1)
            except InvalidSpectrumError as error:
                if error.reason is QuarantineReason.UNREACHABLE:
                    raise ArchiveError(f"the archive does not answer: {error.detail}") from error
                continue
            return True
        return False

    answers = await asyncio.gather(*map(exists, groups.values()))
    found = np.zeros(len(rows), bool)
    for group, answer in zip(groups.values(), answers, strict=True):
        found[group] = answer
    return found
