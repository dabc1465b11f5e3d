"""Endpoints for tables that leave the page: files, and addresses of VOTables that other programs open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from distspec.explorer.data import ExplorerData, ItemNotFoundError
from distspec.explorer.exports import MEDIA_TYPES, build_export, encode_table
from distspec.explorer.responses import check_rows, download_response, json_response
from distspec.explorer.session import AnnotationSession

ALL = "all"
MAX_SHARED_TABLES = 100
"""Largest number of selections that have an address; the oldest is dropped."""


@dataclass(frozen=True)
class TableEndpoints:
    """Endpoints of exported tables.

    Attributes
    ----------
    data : ExplorerData
        The catalog.
    session : AnnotationSession
        Labels and marks, which are columns of the tables.
    shared : dict of str to sequence of int
        Rows of the selections that have an address, by the name of the table.
    """

    data: ExplorerData
    session: AnnotationSession
    shared: dict[str, Sequence[int]] = field(default_factory=dict[str, Sequence[int]])

    def export(self, _: Request, body: Mapping[str, Any]) -> Response:
        """Return a selection, or all spectra, as a file.

        Parameters
        ----------
        body : mapping of str to object
            JSON object of the request.
        """
        output_format = str(body.get("format", "csv"))
        content = self._encode(self._read_rows(body), output_format)
        return download_response(content, MEDIA_TYPES[output_format])

    def share(self, request: Request, body: Mapping[str, Any]) -> Response:
        """Give the VOTable of a selection, or of all spectra, an address on this machine.

        Parameters
        ----------
        request : Request
            The request.
        body : mapping of str to object
            JSON object of the request.
        """
        rows = self._read_rows(body)
        name = ALL
        if rows is not None:
            name = str(1 + int(next(reversed(self.shared), "0")))
            self.shared[name] = rows
            for old in list(self.shared)[:-MAX_SHARED_TABLES]:
                del self.shared[old]
        return json_response({"url": f"{_loopback_address(request)}/api/tables/{name}.vot"})

    def table(self, request: Request) -> Response:
        """Return the VOTable at an address that `share` gave.

        Parameters
        ----------
        request : Request
            The request.
        """
        name = request.path_params["name"]
        if name != ALL and name not in self.shared:
            raise ItemNotFoundError(f"there is no table {name}: send the selection again")
        content = self._encode(None if name == ALL else self.shared[name], "votable")
        return download_response(content, MEDIA_TYPES["votable"])

    def _read_rows(self, body: Mapping[str, Any]) -> list[int] | None:
        """Return the rows of a request; None for all spectra."""
        return None if body.get("rows") == ALL else check_rows(self.data, body.get("rows"))

    def _encode(self, rows: Sequence[int] | None, output_format: str) -> bytes:
        return encode_table(build_export(self.data, self.session, rows), output_format)


def _loopback_address(request: Request) -> str:
    """Return the address of the page on this machine, which programs beside the browser can open."""
    host, port = request.scope["server"]
    return f"http://{host}:{port}{request.scope.get('root_path', '')}"
