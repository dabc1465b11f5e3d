"""Endpoints that answer the page: the catalog, single spectra, searches and annotations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from distspec.core.errors import ConfigError
from distspec.core.lines import LINE_LISTS
from distspec.explorer.columns import GROUPS, list_anomaly_components
from distspec.explorer.data import MAX_RESULTS, ExplorerData
from distspec.explorer.explanations import explain_row
from distspec.explorer.payloads import (
    CatalogPayload,
    ColorPalette,
    ObjectPayload,
    ObjectSummary,
    SearchPayload,
)
from distspec.explorer.responses import (
    binary_response,
    check_row,
    check_rows,
    download_response,
    json_response,
    query_text,
    record_response,
)
from distspec.explorer.session import MAX_LABEL_NAMES, AnnotationSession
from distspec.explorer.spectra import (
    MAX_SMALL_SPECTRA,
    SPECTRUM_FORMATS,
    build_spectrum_table,
    encode_spectrum,
    read_small_spectra,
)
from distspec.labels.annotations import INTEREST_LABELS
from distspec.measurements.bad_pixels import THRESHOLDS

NOT_SUGGESTED = ("", "unknown", "artefact")
"""Galaxy types that are not offered as labels."""


class Endpoints:
    """Endpoints of the page.

    Parameters
    ----------
    data : ExplorerData
        The catalog.
    session : AnnotationSession
        Labels and marks.
    lines : mapping of str to float
        Rest wavelengths of the archive's spectral features [Angstrom].
    """

    def __init__(self, data: ExplorerData, session: AnnotationSession, lines: Mapping[str, float]) -> None:
        self._data, self._session, self._lines = data, session, lines

    def catalog(self, _: Request) -> Response:
        """Return `CatalogPayload`."""
        data, config = self._data, self._data.store.config
        names = self._session.read_label_names()
        columns = tuple(data.columns.values())
        return record_response(
            CatalogPayload(
                root=data.root,
                run_id=data.record.run_id,
                published=data.record.published,
                n=len(data),
                norm_wave=config.reference_wave,
                norm_unit=data.columns["norm"].unit,
                wave_rest=tuple(config.grid.wave_rest.tolist()),
                lines=dict(self._lines),
                line_lists=LINE_LISTS,
                columns=columns,
                groups=tuple(group for group, _ in GROUPS),
                anomaly_components=list_anomaly_components(columns),
                bad_pixel_limits=dict(THRESHOLDS),
                classes=tuple(data.classes),
                top_anomalies=tuple(self._summarize(row) for row in data.top_anomalies()),
                annotator=self._session.annotator,
                label_names=self._default_label_names() if names is None else tuple(names),
                marks=INTEREST_LABELS,
                colors=ColorPalette(),
            )
        )

    def _default_label_names(self) -> tuple[str, ...]:
        """Return the galaxy types of the catalog, which are offered as labels until others are given."""
        columns = self._data.columns
        types = columns["galaxy_type"].categories if "galaxy_type" in columns else ()
        return tuple(name for name in types if name not in NOT_SUGGESTED)[:MAX_LABEL_NAMES]

    def umap(self, _: Request) -> Response:
        """Return the coordinates and classes of all spectra, float32."""
        names = ("umap_0", "umap_1", "cluster_label")
        return binary_response(np.concatenate([self._data.read_column(name) for name in names]))

    def column(self, request: Request) -> Response:
        """Return a column as float32.

        Parameters
        ----------
        request : Request
            The request.
        """
        return binary_response(self._data.read_column(request.path_params["name"]))

    def object_ids(self, _: Request) -> Response:
        """Return all identifiers, separated by null characters."""
        return Response("\0".join(self._data.object_ids), media_type="text/plain; charset=utf-8")

    def spectrum(self, request: Request) -> Response:
        """Return flux, inverse variance and reconstruction of a spectrum, float32.

        Parameters
        ----------
        request : Request
            The request.
        """
        return binary_response(self._data.spectrum(self._requested_row(request)))

    def spectrum_file(self, request: Request) -> Response:
        """Return a spectrum as a file.

        Parameters
        ----------
        request : Request
            The request.
        """
        output_format = request.path_params["format"]
        frame = cast(Literal["rest", "observed"], query_text(request, "frame", "rest"))
        table = build_spectrum_table(self._data, self._requested_row(request), frame)
        return download_response(encode_spectrum(table, output_format), SPECTRUM_FORMATS[output_format])

    def small_spectra(self, request: Request) -> Response:
        """Return flux and reconstruction of several spectra with fewer pixels, float32.

        Parameters
        ----------
        request : Request
            The request.
        """
        words = query_text(request, "rows").split(",")
        if len(words) > MAX_SMALL_SPECTRA:
            raise ConfigError(f"{len(words)} spectra are requested: at most {MAX_SMALL_SPECTRA} at once")
        rows = [check_row(self._data, int(word) if word.isdecimal() else word) for word in words]
        return binary_response(read_small_spectra(self._data, rows))

    def object(self, request: Request) -> Response:
        """Return `ObjectPayload`.

        Parameters
        ----------
        request : Request
            The request.
        """
        data, row = self._data, self._requested_row(request)
        values = data.get_row(row)
        return record_response(
            ObjectPayload(
                values=values,
                archive_url=data.archive_url(row),
                neighbors=tuple(
                    self._summarize(neighbor, value) for neighbor, value in data.nearest_neighbors(row)
                ),
                annotations=tuple(self._session.list_annotations(values["object_id"])),
            )
        )

    def explanation(self, request: Request) -> Response:
        """Return `ExplanationPayload`.

        Parameters
        ----------
        request : Request
            The request.
        """
        return record_response(explain_row(self._data, self._requested_row(request)))

    def find(self, request: Request) -> Response:
        """Return `SearchPayload`.

        Parameters
        ----------
        request : Request
            The request.
        """
        interpretation, rows = self._data.find(query_text(request))
        return record_response(SearchPayload(interpretation, len(rows), tuple(rows[:MAX_RESULTS].tolist())))

    def match_text(self, request: Request) -> Response:
        """Return the rows whose text column contains a text, uint32.

        Parameters
        ----------
        request : Request
            The request.
        """
        return binary_response(self._data.match_text(request.path_params["name"], query_text(request)))

    def labels(self, _: Request) -> Response:
        """Return the label and the mark of each annotated row."""
        return json_response(
            {
                name: {
                    str(row): label
                    for object_id, label in self._session.current_labels(as_marks).items()
                    if (row := self._data.find_row(object_id)) is not None
                }
                for name, as_marks in (("labels", False), ("marks", True))
            }
        )

    def record_annotations(self, _: Request, body: Mapping[str, Any]) -> Response:
        """Label or mark spectra.

        Parameters
        ----------
        body : mapping of str to object
            JSON object of the request.
        """
        object_ids = [self._data.object_ids[row] for row in check_rows(self._data, body.get("rows"))]
        self._session.record(object_ids, str(body.get("label", "")), str(body.get("note", "")))
        return json_response({"n": len(object_ids)})

    def write_label_names(self, _: Request, body: Mapping[str, Any]) -> Response:
        """Set the labels of the number keys.

        Parameters
        ----------
        body : mapping of str to object
            JSON object of the request.
        """
        names = self._session.write_label_names([str(name) for name in body.get("names", ())])
        return json_response({"names": names})

    def undo(self, _: Request, __: Mapping[str, Any]) -> Response:
        """Undo the last action of the annotator."""
        return json_response({"rows": [self._data.find_row(name) for name in self._session.undo()]})

    def _summarize(self, row: int, ln_bayes_factor: float | None = None) -> ObjectSummary:
        values = self._data.get_row(row)
        return ObjectSummary(row, values["object_id"], values["z"], values["anomaly_score"], ln_bayes_factor)

    def _requested_row(self, request: Request) -> int:
        return check_row(self._data, request.path_params["row"])
