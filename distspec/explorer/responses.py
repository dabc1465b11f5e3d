"""Responses of the explorer's endpoints, and the values that their requests hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from distspec.core.records import JsonRecord
from distspec.explorer.data import ExplorerData, ItemNotFoundError


def json_endpoint(handler: Callable[[Request, Mapping[str, Any]], Response]) -> Callable[[Request], Any]:
    """Return an endpoint that parses a JSON object and calls a handler in a thread.

    Parameters
    ----------
    handler : callable
        Function of the request and of the JSON object.

    Returns
    -------
    callable
        The endpoint.
    """

    async def endpoint(request: Request) -> Response:
        try:
            body = json.loads(await request.body())
        except (ValueError, RecursionError) as error:  # RecursionError: nested too deeply
            raise HTTPException(400, f"invalid JSON: {error}") from error
        if not isinstance(body, dict):
            raise HTTPException(400, "a JSON object is required")
        return await run_in_threadpool(handler, request, body)

    return endpoint


def query_text(request: Request, name: str = "text", default: str = "") -> str:
    """Return a parameter of the address.

    Parameters
    ----------
    request : Request
        The request.
    name : str
        Name of the parameter.
    default : str
        Value if the address has no such parameter.
    """
    return request.query_params.get(name, default)


def check_row(data: ExplorerData, row: Any) -> int:
    """Return a row number, if the catalog has it.

    Parameters
    ----------
    data : ExplorerData
        The catalog.
    row : object
        Row number, as the page sent it.

    Raises
    ------
    ItemNotFoundError
        If it is no row of the catalog.
    """
    if not isinstance(row, int) or isinstance(row, bool) or not 0 <= row < len(data):
        raise ItemNotFoundError(f"no spectrum {row!r}: there are {len(data):,}")
    return row


def check_rows(data: ExplorerData, rows: Any) -> list[int]:
    """Return the row numbers of a list; none for anything else.

    Parameters
    ----------
    data : ExplorerData
        The catalog.
    rows : object
        List of row numbers, as the page sent it.

    Raises
    ------
    ItemNotFoundError
        If one of them is no row of the catalog.
    """
    return [check_row(data, row) for row in rows] if isinstance(rows, list) else []


def binary_response(values: np.ndarray[Any, Any]) -> Response:
    """Return an array as little-endian bytes.

    Parameters
    ----------
    values : ndarray
        The array.
    """
    little_endian = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return Response(np.ascontiguousarray(little_endian).tobytes(), media_type="application/octet-stream")


def record_response(record: JsonRecord) -> Response:
    """Return a record as JSON.

    Parameters
    ----------
    record : JsonRecord
        The record.
    """
    return json_response(record.to_json())


def json_response(value: Any, status: int = 200) -> Response:
    """Return a value as JSON.

    Parameters
    ----------
    value : object
        Value without infinite numbers and NaN.
    status : int
        Status of the response.
    """
    content = json.dumps(value, allow_nan=False, ensure_ascii=False)
    return Response(content, status, media_type="application/json")


def download_response(content: bytes, media_type: str) -> Response:
    """Return the content of a file.

    Parameters
    ----------
    content : bytes
        The content.
    media_type : str
        Its media type.
    """
    return Response(content, media_type=media_type)


def not_found_response(_: Request, error: Exception) -> Response:
    """Return the message of an error with status 404.

    Parameters
    ----------
    error : Exception
        The error.
    """
    return json_response({"error": str(error)}, 404)


def bad_request_response(_: Request, error: Exception) -> Response:
    """Return the message of an error with status 400.

    Parameters
    ----------
    error : Exception
        The error.
    """
    return json_response({"error": str(error)}, 400)
