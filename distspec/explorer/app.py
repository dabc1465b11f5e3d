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
from distspec.explorer.data import MAX_FOUND, Explored, Unknown
from distspec.explorer.security import Guard
from distspec.explorer.session import MAX_NAMES, Notebook
from distspec.labels.annotations import MARKS

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
EXPORTED = (
    *("object_id", "source_id", "ra", "dec", "z", "snr", "cluster_label", "cluster_prob", "kind"),
    *("anomaly_score", "anomaly_rank"),
)
"""Columns of an export, those that are there; with ``human_label`` and ``mark``."""


def make_app(explored: Explored, notebook: Notebook, lines: Mapping[str, float]) -> Starlette:
    """Return the application, without its guard.

    Parameters
    ----------
    explored : Explored
    notebook : Notebook
        Closed when the application ends.
    lines : mapping
        Features to name: rest wavelength [Å].
    """
    pages = _Pages()
    api = _Api(explored, notebook, lines)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        yield
        await run_in_threadpool(notebook.close)

    def route(path: str, answer: Callable[[Request], Response], method: str = "GET") -> Route:
        return Route(path, answer, methods=[method])

    return Starlette(
        routes=[
            route("/", pages.file),
            route("/{name}", pages.file),
            route("/api/catalogue", api.catalogue),
            route("/api/map", api.map),
            route("/api/column/{name}", api.column),
            route("/api/names", api.names),
            route("/api/spectrum/{i:int}", api.spectrum),
            route("/api/object/{i:int}", api.object),
            route("/api/find", api.find),
            route("/api/containing/{name}", api.containing),
            route("/api/labels", api.labels),
            Route("/api/labels", _posted(api.say), methods=["POST"]),
            Route("/api/labels", _posted(api.rename), methods=["PUT"]),
            Route("/api/undo", _posted(api.undo), methods=["POST"]),
            Route("/api/export", _posted(api.export), methods=["POST"]),
        ],
        lifespan=lifespan,
        exception_handlers={Unknown: _unknown},
    )


class _Pages:
    """The files of the page, read once: no path from a request ever reaches the disk."""

    def __init__(self) -> None:
        folder = files("distspec.explorer") / "static"
        self._files = {
            file.name: (file.read_bytes(), TYPES[PurePath(file.name).suffix])
            for file in folder.iterdir()
            if PurePath(file.name).suffix in TYPES
        }

    def file(self, request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in self._files:
            raise HTTPException(404, "no such page")
        content, media_type = self._files[name]
        return Response(content, media_type=media_type)


class _Api:
    """What the page asks for."""

    def __init__(self, explored: Explored, notebook: Notebook, lines: Mapping[str, float]) -> None:
        self._explored, self._notebook, self._lines = explored, notebook, lines

    def catalogue(self, _: Request) -> Response:
        explored, frozen = self._explored, self._explored.store.frozen
        kinds = explored.columns["kind"].categories if "kind" in explored.columns else []
        suggested = [kind for kind in kinds if kind not in ("", "unknown", "artefact")]
        names = self._notebook.names()
        return _json(
            {
                "root": explored.root,
                "run_id": explored.record["run_id"],
                "published": explored.record["published"],
                "n": len(explored),
                "reference": frozen.reference,
                "wave_rest": frozen.grid.wave_rest.tolist(),
                "norm_unit": explored.columns["norm"].unit,
                "lines": dict(self._lines),
                "columns": [column._asdict() for column in explored.columns.values()],
                "classes": explored.classes,
                "oddest": [self._entry(i) for i in explored.oddest()],
                "who": self._notebook.who,
                "label_names": suggested[:MAX_NAMES] if names is None else names,
                "marks": MARKS,
                "colours": {
                    "classes": colors.CLASS_COLOURS,
                    "none": colors.UNCLASSIFIED,
                    "data": colors.DATA,
                    "sigma": colors.SIGMA,
                    "model": colors.MODEL,
                    "faint": colors.FAINT,
                    "ramp": [to_hex(c) for c in mpl.colormaps["viridis"](np.linspace(0, 0.95, 64))],
                },
            }
        )

    def map(self, _: Request) -> Response:
        names = ("umap_0", "umap_1", "cluster_label")
        return _raw(np.concatenate([self._explored.numbers(name) for name in names]))

    def column(self, request: Request) -> Response:
        return _raw(self._explored.numbers(request.path_params["name"]))

    def names(self, _: Request) -> Response:
        return Response("\0".join(self._explored.names), media_type="text/plain; charset=utf-8")

    def spectrum(self, request: Request) -> Response:
        return _raw(self._explored.spectrum(self._index(request.path_params["i"])))

    def object(self, request: Request) -> Response:
        explored, i = self._explored, self._index(request.path_params["i"])
        facts = explored.facts(i)
        near = [{**self._entry(j), "distance": apart} for j, apart in explored.neighbours(i)]
        said = self._notebook.of(facts["object_id"])
        return _json({"facts": facts, "page": explored.page(i), "neighbours": near, "said": said})

    def find(self, request: Request) -> Response:
        how, rows = self._explored.find(_text(request))
        return _json({"how": how, "total": len(rows), "rows": rows[:MAX_FOUND].tolist()})

    def containing(self, request: Request) -> Response:
        return _raw(self._explored.containing(request.path_params["name"], _text(request)))

    def labels(self, _: Request) -> Response:
        return _json(
            {
                name: {
                    str(i): label
                    for object_id, label in self._notebook.standing(marks).items()
                    if (i := self._explored.index(object_id)) is not None
                }
                for name, marks in (("labels", False), ("marks", True))
            }
        )

    def say(self, asked: Mapping[str, Any]) -> Response:
        objects = [self._explored.names[i] for i in self._rows(asked)]
        with _as_answer():
            self._notebook.say(objects, str(asked.get("label", "")), str(asked.get("note", "")))
        return _json({"n": len(objects)})

    def rename(self, asked: Mapping[str, Any]) -> Response:
        with _as_answer():
            return _json({"names": self._notebook.rename([str(name) for name in asked.get("names", ())])})

    def undo(self, _: Mapping[str, Any]) -> Response:
        objects = self._notebook.undo()
        return _json({"rows": [self._explored.index(name) for name in objects]})

    def export(self, asked: Mapping[str, Any]) -> Response:
        rows = pa.array(self._rows(asked), pa.int64())
        columns = [name for name in EXPORTED if name in self._explored.table.column_names]
        table = self._explored.table.select(columns).take(rows)
        for name, marks in (("human_label", False), ("mark", True)):
            said = self._notebook.standing(marks)
            table = table.append_column(
                name, pa.array([said.get(each, "") for each in table["object_id"].to_pylist()], pa.string())
            )
        sink = io.BytesIO()
        pyarrow.csv.write_csv(table, sink)
        return Response(sink.getvalue(), media_type="text/csv; charset=utf-8")

    def _entry(self, i: int) -> dict[str, Any]:
        """Return what a list says of an object."""
        facts = self._explored.facts(i)
        return {"row": i, **{name: facts[name] for name in ("object_id", "z", "anomaly_score")}}

    def _rows(self, asked: Mapping[str, Any]) -> list[int]:
        rows = asked.get("rows")
        return [self._index(i) for i in rows] if isinstance(rows, list) else []

    def _index(self, i: Any) -> int:
        if not isinstance(i, int) or not 0 <= i < len(self._explored):
            raise Unknown(f"no object {i!r}: there are {len(self._explored):,}")
        return i


def _posted(answer: Callable[[Mapping[str, Any]], Response]) -> Callable[[Request], Any]:
    """Return an endpoint that takes JSON and answers in a thread of its own."""

    async def endpoint(request: Request) -> Response:
        try:
            asked = json.loads(await request.body())
        except ValueError as error:
            raise HTTPException(400, f"no JSON: {error}") from error
        if not isinstance(asked, dict):
            raise HTTPException(400, "a JSON object is wanted")
        return await run_in_threadpool(answer, asked)

    return endpoint


@contextmanager
def _as_answer() -> Generator[None]:
    """Answer with what was wrong with what was asked."""
    try:
        yield
    except ValueError as error:
        raise HTTPException(400, str(error)) from error


def _text(request: Request) -> str:
    return request.query_params.get("text", "")


def _raw(values: np.ndarray[Any, Any]) -> Response:
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return Response(np.ascontiguousarray(little).tobytes(), media_type="application/octet-stream")


def _json(value: Any, status: int = 200) -> Response:
    content = json.dumps(value, allow_nan=False, ensure_ascii=False)
    return Response(content, status, media_type="application/json")


def _unknown(_: Request, error: Exception) -> Response:
    return _json({"error": str(error)}, 404)


LOOPBACK = "127.0.0.1"


def serve(
    explored: Explored, notebook: Notebook, lines: Mapping[str, float], port: int = 0, browser: bool = True
) -> None:
    """Print the page's address, open it, and answer until interrupted; then compact what was said.

    Parameters
    ----------
    explored : Explored
    notebook : Notebook
    lines : mapping
        Features to name: rest wavelength [Å].
    port : int
        0: any that is free.
    browser : bool
        Open the page in the user's browser.

    Raises
    ------
    ValueError
        When something else listens there.
    """
    with listen(port) as listener:
        port, token = listener.getsockname()[1], secrets.token_urlsafe(32)
        app = Guard(make_app(explored, notebook, lines), token, port)
        url = f"http://{LOOPBACK}:{port}/{token}/"
        print(f"{len(explored):,} spectra of run {explored.record['run_id']}: {url}\nCtrl-C ends", flush=True)
        if browser:
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
