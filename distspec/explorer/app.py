"""The web application of the explorer: its pages and its JSON and binary endpoints."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import PurePath

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from distspec.core.errors import CatalogError, ConfigError, LabelError
from distspec.explorer.data import ExplorerData, ItemNotFoundError
from distspec.explorer.endpoints import Endpoints
from distspec.explorer.responses import bad_request_response, json_endpoint, not_found_response
from distspec.explorer.session import AnnotationSession
from distspec.explorer.table_endpoints import TableEndpoints

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


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
    api = Endpoints(data, session, lines)
    tables = TableEndpoints(data, session)

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
            get("/api/spectrum/{row:int}/{format}", api.spectrum_file),
            get("/api/spectra", api.small_spectra),
            get("/api/object/{row:int}", api.object),
            get("/api/explanation/{row:int}", api.explanation),
            get("/api/find", api.find),
            get("/api/match/{name}", api.match_text),
            get("/api/labels", api.labels),
            get("/api/tables/{name}.vot", tables.table),
            Route("/api/labels", json_endpoint(api.record_annotations), methods=["POST"]),
            Route("/api/labels", json_endpoint(api.write_label_names), methods=["PUT"]),
            Route("/api/undo", json_endpoint(api.undo), methods=["POST"]),
            Route("/api/export", json_endpoint(tables.export), methods=["POST"]),
            Route("/api/tables", json_endpoint(tables.share), methods=["POST"]),
        ],
        lifespan=lifespan,
        exception_handlers={
            ItemNotFoundError: not_found_response,
            LabelError: bad_request_response,
            ConfigError: bad_request_response,
            CatalogError: bad_request_response,
        },
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
        page, media_type = self._files["index.html"]
        self._files["index.html"] = _preload_modules(page, self._files), media_type

    def get_file(self, request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in self._files:
            raise HTTPException(404, "no such page")
        content, media_type = self._files[name]
        return Response(content, media_type=media_type)


def _preload_modules(page: bytes, names: Iterable[str]) -> bytes:
    """Let a page request all modules at once, instead of each after the one that imports it."""
    modules = sorted(name for name in names if name.endswith(".js"))
    links = "".join(f'<link rel="modulepreload" href="{name}">\n' for name in modules)
    return page.replace(b"</head>", links.encode() + b"</head>")
