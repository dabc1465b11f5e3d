"""The web application of the explorer: its pages and its JSON and binary endpoints."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import PurePath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from distspec.core.errors import LabelError
from distspec.core.records import JsonRecord
from distspec.core.text import escape_formula
from distspec.explorer.data import MAX_RESULTS, ExplorerData, ItemNotFoundError
from distspec.explorer.payloads import (
    CatalogPayload,
    ColorPalette,
    ObjectPayload,
    ObjectSummary,
    SearchPayload,
)
from distspec.explorer.session import MAX_LABEL_NAMES, AnnotationSession
from distspec.labels.annotations import INTEREST_LABELS, Annotation

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
EXPORT_COLUMNS = (
    *("object_id", "source_id", "ra", "dec", "z", "snr", "cluster_label", "cluster_prob", "galaxy_type"),
    *("anomaly_score", "anomaly_rank"),
)
"""Columns of an exported selection; those of labels and marks are added."""
NOT_SUGGESTED = ("", "unknown", "artefact")
"""Galaxy types that are not offered as labels."""


def make_app(data: ExplorerData, session: AnnotationSession, lines: Mapping[str, float]) -> Starlette:
    """Create the web application, without access control.

    Parameters
    ----------
    data : ExplorerData
        Catalog to show.
    session : AnnotationSession
        Annotations; closed when the application ends.
    lines : mapping of str to float
        Rest wavelengths of the spectral features to name [Angstrom].

    Returns
    -------
    Starlette
        The ASGI application.
    """
    pages = _StaticFiles()
    api = _Api(data, session, lines)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        yield
        await run_in_threadpool(session.close)

    def get(path: str, endpoint: Callable[[Request], Response]) -> Route:
        return Route(path, endpoint, methods=["GET"])

    return Starlette(
        routes=[
            get("/", pages.get_file),
            get("/{name}", pages.get_file),
            get("/api/catalog", api.catalog),
            get("/api/map", api.umap),
            get("/api/column/{name}", api.column),
            get("/api/ids", api.object_ids),
            get("/api/spectrum/{row:int}", api.spectrum),
            get("/api/object/{row:int}", api.object),
            get("/api/find", api.find),
            get("/api/match/{name}", api.match_text),
            get("/api/labels", api.labels),
            Route("/api/labels", _json_endpoint(api.record_annotations), methods=["POST"]),
            Route("/api/labels", _json_endpoint(api.write_label_names), methods=["PUT"]),
            Route("/api/undo", _json_endpoint(api.undo), methods=["POST"]),
            Route("/api/export", _json_endpoint(api.export), methods=["POST"]),
        ],
        lifespan=lifespan,
        exception_handlers={ItemNotFoundError: _not_found_response, LabelError: _bad_request_response},
    )


class _StaticFiles:
    """Static files, which are read once, so that no path of a request is used to open a file."""

    def __init__(self) -> None:
        folder = files("distspec.explorer") / "static"
        self._files = {
            file.name: (file.read_bytes(), MEDIA_TYPES[PurePath(file.name).suffix])
            for file in folder.iterdir()
            if PurePath(file.name).suffix in MEDIA_TYPES
        }

    def get_file(self, request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in self._files:
            raise HTTPException(404, "no such page")
        content, media_type = self._files[name]
        return Response(content, media_type=media_type)


class _Api:
    """Endpoints of the page."""

    def __init__(self, data: ExplorerData, session: AnnotationSession, lines: Mapping[str, float]) -> None:
        self._data, self._session, self._lines = data, session, lines

    def catalog(self, _: Request) -> Response:
        """Return `CatalogPayload`."""
        data, config = self._data, self._data.store.config
        names = self._session.read_label_names()
        return _record_response(
            CatalogPayload(
                root=data.root,
                run_id=data.record.run_id,
                published=data.record.published,
                n=len(data),
                norm_wave=config.reference_wave,
                norm_unit=data.columns["norm"].unit,
                wave_rest=tuple(config.grid.wave_rest.tolist()),
                lines=dict(self._lines),
                columns=tuple(data.columns.values()),
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
        return _binary_response(np.concatenate([self._data.read_column(name) for name in names]))

    def column(self, request: Request) -> Response:
        """Return a column as float32."""
        return _binary_response(self._data.read_column(request.path_params["name"]))

    def object_ids(self, _: Request) -> Response:
        """Return all identifiers, separated by null characters."""
        return Response("\0".join(self._data.object_ids), media_type="text/plain; charset=utf-8")

    def spectrum(self, request: Request) -> Response:
        """Return flux, inverse variance and reconstruction of a spectrum, float32."""
        return _binary_response(self._data.spectrum(self._check_row(request.path_params["row"])))

    def object(self, request: Request) -> Response:
        """Return `ObjectPayload`."""
        data, row = self._data, self._check_row(request.path_params["row"])
        values = data.get_row(row)
        return _record_response(
            ObjectPayload(
                values=values,
                archive_url=data.archive_url(row),
                neighbors=tuple(
                    self._summarize(neighbor, value) for neighbor, value in data.nearest_neighbors(row)
                ),
                annotations=tuple(self._session.list_annotations(values["object_id"])),
            )
        )

    def find(self, request: Request) -> Response:
        """Return `SearchPayload`."""
        interpretation, rows = self._data.find(_query_text(request))
        return _record_response(SearchPayload(interpretation, len(rows), tuple(rows[:MAX_RESULTS].tolist())))

    def match_text(self, request: Request) -> Response:
        """Return the rows whose text column contains a text, uint32."""
        return _binary_response(self._data.match_text(request.path_params["name"], _query_text(request)))

    def labels(self, _: Request) -> Response:
        """Return the label and the mark of each annotated row."""
        return _json_response(
            {
                name: {
                    str(row): label
                    for object_id, label in self._session.current_labels(as_marks).items()
                    if (row := self._data.find_row(object_id)) is not None
                }
                for name, as_marks in (("labels", False), ("marks", True))
            }
        )

    def record_annotations(self, body: Mapping[str, Any]) -> Response:
        """Label or mark spectra."""
        object_ids = [self._data.object_ids[row] for row in self._rows(body)]
        self._session.record(object_ids, str(body.get("label", "")), str(body.get("note", "")))
        return _json_response({"n": len(object_ids)})

    def write_label_names(self, body: Mapping[str, Any]) -> Response:
        """Set the labels of the number keys."""
        names = self._session.write_label_names([str(name) for name in body.get("names", ())])
        return _json_response({"names": names})

    def undo(self, _: Mapping[str, Any]) -> Response:
        """Undo the last action of the annotator."""
        return _json_response({"rows": [self._data.find_row(name) for name in self._session.undo()]})

    def export(self, body: Mapping[str, Any]) -> Response:
        """Return a selection as CSV, in which texts that a spreadsheet takes for formulas are escaped."""
        rows = pa.array(self._rows(body), pa.int64())
        columns = [name for name in EXPORT_COLUMNS if name in self._data.table.column_names]
        table = self._data.table.select(columns).take(rows)
        object_ids = table["object_id"].to_pylist()
        for name, values in self._label_columns(object_ids).items():
            table = table.append_column(name, pa.array(values, pa.string()))
        for i, column in enumerate(table.schema):
            if pa.types.is_string(column.type):
                texts = [text and escape_formula(text) for text in table[column.name].to_pylist()]
                table = table.set_column(i, column.name, pa.array(texts, pa.string()))
        sink = io.BytesIO()
        pyarrow.csv.write_csv(table, sink)
        return Response(sink.getvalue(), media_type="text/csv; charset=utf-8")

    def _label_columns(self, object_ids: Sequence[str]) -> dict[str, list[str]]:
        """Return the label and the mark of each spectrum, with annotator, time and note, for an import."""
        columns: dict[str, list[str]] = {}
        for name, prefix, as_marks in (("human_label", "", False), ("mark", "mark_", True)):
            current = self._session.current_annotations(as_marks)
            found = [current.get(object_id, Annotation(object_id, "")) for object_id in object_ids]
            columns[name] = [annotation.human_label for annotation in found]
            columns[f"{prefix}who"] = [annotation.who for annotation in found]
            columns[f"{prefix}when"] = [a.when.isoformat() if a.when else "" for a in found]
            columns[f"{prefix}note"] = [annotation.note for annotation in found]
        return columns

    def _summarize(self, row: int, ln_bayes_factor: float | None = None) -> ObjectSummary:
        values = self._data.get_row(row)
        return ObjectSummary(row, values["object_id"], values["z"], values["anomaly_score"], ln_bayes_factor)

    def _rows(self, body: Mapping[str, Any]) -> list[int]:
        rows = body.get("rows")
        return [self._check_row(row) for row in rows] if isinstance(rows, list) else []

    def _check_row(self, row: Any) -> int:
        if not isinstance(row, int) or not 0 <= row < len(self._data):
            raise ItemNotFoundError(f"no spectrum {row!r}: there are {len(self._data):,}")
        return row


def _json_endpoint(handler: Callable[[Mapping[str, Any]], Response]) -> Callable[[Request], Any]:
    """Return an endpoint that parses a JSON object and calls a handler in a thread."""

    async def endpoint(request: Request) -> Response:
        try:
            body = json.loads(await request.body())
        except (ValueError, RecursionError) as error:  # RecursionError: nested too deeply
            raise HTTPException(400, f"invalid JSON: {error}") from error
        if not isinstance(body, dict):
            raise HTTPException(400, "a JSON object is required")
        return await run_in_threadpool(handler, body)

    return endpoint


def _query_text(request: Request) -> str:
    return request.query_params.get("text", "")


def _binary_response(values: np.ndarray[Any, Any]) -> Response:
    """Return an array as little-endian bytes."""
    little_endian = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return Response(np.ascontiguousarray(little_endian).tobytes(), media_type="application/octet-stream")


def _record_response(record: JsonRecord) -> Response:
    return _json_response(record.to_json())


def _json_response(value: Any, status: int = 200) -> Response:
    content = json.dumps(value, allow_nan=False, ensure_ascii=False)
    return Response(content, status, media_type="application/json")


def _not_found_response(_: Request, error: Exception) -> Response:
    return _json_response({"error": str(error)}, 404)


def _bad_request_response(_: Request, error: Exception) -> Response:
    return _json_response({"error": str(error)}, 400)
