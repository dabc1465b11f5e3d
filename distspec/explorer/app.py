"""Serving the explorer on the loopback address until it is interrupted."""

from __future__ import annotations

import io
import json
import secrets
import socket
import webbrowser
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from importlib.resources import files
from pathlib import PurePath
from typing import Any

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import pyarrow.csv
import uvicorn
from matplotlib.colors import to_hex
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from distspec.core import colors
from distspec.explorer.data import MAX_RESULTS, ExplorerData, NotFoundError
from distspec.explorer.security import TokenAuthMiddleware
from distspec.explorer.session import MAX_LABEL_NAMES, AnnotationSession
from distspec.labels.annotations import INTEREST_LABELS

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
"""Columns of an export, those that are there; with ``human_label`` and ``mark``."""


def make_app(data: ExplorerData, session: AnnotationSession, lines: Mapping[str, float]) -> Starlette:
    """Return the application, without its guard.

    Parameters
    ----------
    data : Explored
    session : Notebook
        Closed when the application ends.
    lines : mapping
        Features to name: rest wavelength [Å].
    """
    pages = _StaticFiles()
    api = _Api(data, session, lines)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        yield
        await run_in_threadpool(session.close)

    def route(path: str, answer: Callable[[Request], Response], method: str = "GET") -> Route:
        return Route(path, answer, methods=[method])

    return Starlette(
        routes=[
            route("/", pages.get_file),
            route("/{name}", pages.get_file),
            route("/api/catalogue", api.catalog),
            route("/api/map", api.umap),
            route("/api/column/{name}", api.column),
            route("/api/names", api.object_ids),
            route("/api/spectrum/{i:int}", api.spectrum),
            route("/api/object/{i:int}", api.object),
            route("/api/find", api.find),
            route("/api/containing/{name}", api.match_text),
            route("/api/labels", api.labels),
            Route("/api/labels", _json_endpoint(api.record_annotations), methods=["POST"]),
            Route("/api/labels", _json_endpoint(api.write_label_names), methods=["PUT"]),
            Route("/api/undo", _json_endpoint(api.undo), methods=["POST"]),
            Route("/api/export", _json_endpoint(api.export), methods=["POST"]),
        ],
        lifespan=lifespan,
        exception_handlers={NotFoundError: _not_found_response},
    )


class _StaticFiles:
    """The files of the page, read once: no path from a request ever reaches the disk."""

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
    """What the page asks for."""

    def __init__(self, data: ExplorerData, session: AnnotationSession, lines: Mapping[str, float]) -> None:
        self._data, self._session, self._lines = data, session, lines

    def catalog(self, _: Request) -> Response:
        explored, frozen = self._data, self._data.store.config
        kinds = explored.columns["galaxy_type"].categories if "galaxy_type" in explored.columns else []
        suggested = [kind for kind in kinds if kind not in ("", "unknown", "artefact")]
        names = self._session.read_label_names()
        return _json_response(
            {
                "root": explored.root,
                "run_id": explored.record["run_id"],
                "published": explored.record["published"],
                "n": len(explored),
                "reference": frozen.reference_wave,
                "wave_rest": frozen.grid.wave_rest.tolist(),
                "norm_unit": explored.columns["norm"].unit,
                "lines": dict(self._lines),
                "columns": [column._asdict() for column in explored.columns.values()],
                "classes": explored.classes,
                "oddest": [self._object_summary(i) for i in explored.top_anomalies()],
                "who": self._session.annotator,
                "label_names": suggested[:MAX_LABEL_NAMES] if names is None else names,
                "marks": INTEREST_LABELS,
                "colours": {
                    "classes": colors.CLASS_COLORS,
                    "none": colors.UNCLASSIFIED_COLOR,
                    "data": colors.DATA_COLOR,
                    "sigma": colors.ERROR_COLOR,
                    "model": colors.MODEL_COLOR,
                    "faint": colors.MUTED_COLOR,
                    "ramp": [to_hex(c) for c in mpl.colormaps["viridis"](np.linspace(0, 0.95, 64))],
                },
            }
        )

    def umap(self, _: Request) -> Response:
        names = ("umap_0", "umap_1", "cluster_label")
        return _binary_response(np.concatenate([self._data.read_column(name) for name in names]))

    def column(self, request: Request) -> Response:
        return _binary_response(self._data.read_column(request.path_params["name"]))

    def object_ids(self, _: Request) -> Response:
        return Response("\0".join(self._data.object_ids), media_type="text/plain; charset=utf-8")

    def spectrum(self, request: Request) -> Response:
        return _binary_response(self._data.spectrum(self._check_index(request.path_params["i"])))

    def object(self, request: Request) -> Response:
        explored, i = self._data, self._check_index(request.path_params["i"])
        facts = explored.get_row(i)
        near = [{**self._object_summary(j), "distance": apart} for j, apart in explored.nearest_neighbors(i)]
        said = self._session.list_annotations(facts["object_id"])
        return _json_response(
            {"facts": facts, "page": explored.archive_url(i), "neighbours": near, "said": said}
        )

    def find(self, request: Request) -> Response:
        how, rows = self._data.find(_query_text(request))
        return _json_response({"how": how, "total": len(rows), "rows": rows[:MAX_RESULTS].tolist()})

    def match_text(self, request: Request) -> Response:
        return _binary_response(self._data.match_text(request.path_params["name"], _query_text(request)))

    def labels(self, _: Request) -> Response:
        return _json_response(
            {
                name: {
                    str(i): label
                    for object_id, label in self._session.current_labels(marks).items()
                    if (i := self._data.index(object_id)) is not None
                }
                for name, marks in (("labels", False), ("marks", True))
            }
        )

    def record_annotations(self, body: Mapping[str, Any]) -> Response:
        objects = [self._data.object_ids[i] for i in self._rows(body)]
        with _value_errors_as_400():
            self._session.record(objects, str(body.get("label", "")), str(body.get("note", "")))
        return _json_response({"n": len(objects)})

    def write_label_names(self, body: Mapping[str, Any]) -> Response:
        with _value_errors_as_400():
            return _json_response(
                {"names": self._session.write_label_names([str(name) for name in body.get("names", ())])}
            )

    def undo(self, _: Mapping[str, Any]) -> Response:
        objects = self._session.undo()
        return _json_response({"rows": [self._data.index(name) for name in objects]})

    def export(self, body: Mapping[str, Any]) -> Response:
        rows = pa.array(self._rows(body), pa.int64())
        columns = [name for name in EXPORT_COLUMNS if name in self._data.table.column_names]
        table = self._data.table.select(columns).take(rows)
        for name, marks in (("human_label", False), ("mark", True)):
            said = self._session.current_labels(marks)
            table = table.append_column(
                name, pa.array([said.get(each, "") for each in table["object_id"].to_pylist()], pa.string())
            )
        sink = io.BytesIO()
        pyarrow.csv.write_csv(table, sink)
        return Response(sink.getvalue(), media_type="text/csv; charset=utf-8")

    def _object_summary(self, i: int) -> dict[str, Any]:
        """Return what a list says of an object."""
        facts = self._data.get_row(i)
        return {"row": i, **{name: facts[name] for name in ("object_id", "z", "anomaly_score")}}

    def _rows(self, body: Mapping[str, Any]) -> list[int]:
        rows = body.get("rows")
        return [self._check_index(i) for i in rows] if isinstance(rows, list) else []

    def _check_index(self, i: Any) -> int:
        if not isinstance(i, int) or not 0 <= i < len(self._data):
            raise NotFoundError(f"no object {i!r}: there are {len(self._data):,}")
        return i


def _json_endpoint(handler: Callable[[Mapping[str, Any]], Response]) -> Callable[[Request], Any]:
    """Return an endpoint that takes JSON and answers in a thread of its own."""

    async def endpoint(request: Request) -> Response:
        try:
            asked = json.loads(await request.body())
        except ValueError as error:
            raise HTTPException(400, f"no JSON: {error}") from error
        if not isinstance(asked, dict):
            raise HTTPException(400, "a JSON object is wanted")
        return await run_in_threadpool(handler, asked)

    return endpoint


@contextmanager
def _value_errors_as_400() -> Generator[None]:
    """Answer with what was wrong with what was asked."""
    try:
        yield
    except ValueError as error:
        raise HTTPException(400, str(error)) from error


def _query_text(request: Request) -> str:
    return request.query_params.get("text", "")


def _binary_response(values: np.ndarray[Any, Any]) -> Response:
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return Response(np.ascontiguousarray(little).tobytes(), media_type="application/octet-stream")


def _json_response(value: Any, status: int = 200) -> Response:
    content = json.dumps(value, allow_nan=False, ensure_ascii=False)
    return Response(content, status, media_type="application/json")


def _not_found_response(_: Request, error: Exception) -> Response:
    return _json_response({"error": str(error)}, 404)


LOOPBACK = "127.0.0.1"


def serve(
    data: ExplorerData,
    session: AnnotationSession,
    lines: Mapping[str, float],
    port: int = 0,
    open_browser: bool = True,
) -> None:
    """Print the page's address, open it, and answer until interrupted; then compact what was said.

    Parameters
    ----------
    data : Explored
    session : Notebook
    lines : mapping
        Features to name: rest wavelength [Å].
    port : int
        0: any that is free.
    open_browser : bool
        Open the page in the user's browser.

    Raises
    ------
    ValueError
        When something else listens there.
    """
    with listen(port) as listener:
        port, token = listener.getsockname()[1], secrets.token_urlsafe(32)
        app = TokenAuthMiddleware(make_app(data, session, lines), token, port)
        url = f"http://{LOOPBACK}:{port}/{token}/"
        print(f"{len(data):,} spectra of run {data.record['run_id']}: {url}\nCtrl-C ends", flush=True)
        if open_browser:
            webbrowser.open(url)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, proxy_headers=False
        )
        uvicorn.Server(config).run(sockets=[listener])


def listen(port: int) -> socket.socket:
    """Return a socket that listens on the loopback address; port 0: any that is free.

    Raises
    ------
    ValueError
        When something else listens there.
    """
    try:
        return socket.create_server((LOOPBACK, port), backlog=128)
    except OSError as error:
        raise ValueError(f"--port {port}: {error.strerror}; 0 takes one that is free") from error
