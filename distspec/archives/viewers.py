"""Where an archive shows one of its spectra to people, by the archive's kind.

DJA: a figure of each spectrum (https://dawn-cph.github.io/dja); SDSS: the page of a plate, MJD and fibre
(https://dr16.sdss.org/optical/spectrum/view/data/access); DESI: the Legacy Survey's viewer; JADES: its map.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from distspec.archives.dja import PUBLIC_URL

ObjectRow = Mapping[str, Any]
"""Of ``objects``: object_id, root, srcid, ra, dec."""


def viewer_url(archive_name: str, row: ObjectRow) -> str:
    """Return the address of a spectrum's page, "" where its archive has none.

    Parameters
    ----------
    archive_name : str
        `distspec.archives.base.Archive.name`.
    row : mapping
        object_id, root, srcid; ra, dec [deg].

    Examples
    --------
    >>> page("sdss", {"object_id": "spec-4055-55359-0596"})
    'https://dr16.sdss.org/optical/spectrum/view/?plateid=4055&mjd=55359&fiberid=596'
    >>> page("spex", {"object_id": "a.fits"})
    ''
    """
    make = VIEWER_URLS.get(archive_name)
    return make(row) if make else ""


def _dja_url(row: ObjectRow) -> str:
    name, root = str(row["object_id"]), str(row["root"])
    if root.startswith("mock-") or not name.endswith(".spec.fits"):  # made up: nobody's page
        return ""
    return f"{PUBLIC_URL}/{quote(root, safe='')}/{quote(name.removesuffix('.spec.fits'), safe='')}.fnu.png"


def _sdss_url(row: ObjectRow) -> str:
    parts = str(row["object_id"]).split("-")
    if len(parts) != 4 or not all(part.isdecimal() for part in parts[1:]):
        return ""
    plate, mjd, fiber = (int(part) for part in parts[1:])
    return f"https://dr16.sdss.org/optical/spectrum/view/?plateid={plate}&mjd={mjd}&fiberid={fiber}"


def _desi_url(row: ObjectRow) -> str:
    target = str(row["srcid"])
    known = target.isdecimal()
    return f"https://www.legacysurvey.org/viewer/desi-spectrum/dr1/targetid{target}" if known else ""


def _jades_url(row: ObjectRow) -> str:
    return f"https://jades.idies.jhu.edu/?ra={row['ra']:.6f}&dec={row['dec']:.6f}&zoom=10"


VIEWER_URLS: Mapping[str, Callable[[ObjectRow], str]] = {
    "dja": _dja_url,
    "sdss": _sdss_url,
    "desi": _desi_url,
    "jades": _jades_url,
}
