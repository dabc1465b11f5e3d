"""The command ``explore``: address, responses, and compaction of the labels at the end by Ctrl-C."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from urllib.request import Request, urlopen

import pytest

from distspec.catalog.editions import open_tables
from distspec.core.errors import ConfigError
from distspec.explorer.server import LOOPBACK, listen
from distspec.io.files import list_files
from distspec.labels.annotations import annotations_url, read_annotations

COMMAND = [sys.executable, "-c", "from distspec.cli.main import main; main()", "explore", "--no-browser"]


def request_wrongly(url):
    """Send requests that the explorer refuses, or that are not HTTP."""
    _, _, address, token, _ = url.split("/")
    host, port = address.split(":")
    requests = [
        f"GET /{token}/nothing HTTP/1.1\r\nHost: {address}\r\n",
        f"GET /{token}/api/spectrum/x HTTP/1.1\r\nHost: {address}\r\n",
        f"GET /{token}/ HTTP/1.1\r\nHost: evil.example\r\n",
        f"POST /{token}/api/labels HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\n"
        "Content-Type: application/json\r\nContent-Length: 1\r\n",
        f"GET /{token}/\0 HTTP/9.9\r\n",
    ]
    for request in requests:
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(f"{request}Connection: close\r\n\r\n{{".encode())
            status = int(connection.recv(1000).split()[1])
            assert 400 <= status < 500, request


def test_explore_serves_until_interrupted(root):
    args = [*COMMAND, "--root", root, "--who", "ann"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(args, **pipes, text=True, env=dict(os.environ)) as process:
        line = process.stdout.readline()
        url = re.fullmatch(r"400 spectra of run r-1: (http://127\.0\.0\.1:\d+/[\w-]{43}/)\n", line)[1]
        with urlopen(url) as response:
            assert b"distspec explorer" in response.read()
        origin = url.split("/", 3)
        headers = {"content-type": "application/json", "origin": "/".join(origin[:3])}
        label = Request(f"{url}api/labels", json.dumps({"rows": [3], "label": "LRD"}).encode(), headers)
        with urlopen(label) as response:
            assert response.status == 200
        request_wrongly(url)
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
        assert process.returncode == 0
    token = url.split("/")[3]
    assert token not in rest + errors, "the token is in the printed address only"
    third = open_tables(root)["objects"].to_table(columns=["object_id"])["object_id"][3].as_py()
    assert read_annotations(root).select(["object_id", "human_label", "who"]).to_pylist() == [
        {"object_id": third, "human_label": "LRD", "who": "ann"}
    ]
    assert [name for name in list_files(annotations_url(root)) if name.endswith(".parquet")] == [
        "labels.parquet"
    ]


def test_the_page_is_served_while_the_browser_command_waits(root, tmp_path):
    """Text browsers, and scripts that wait for one, return only when they are closed."""
    script = tmp_path / "browser"
    script.write_text(
        f"#!{sys.executable}\nimport sys, urllib.request\n"
        "print(urllib.request.urlopen(sys.argv[1], timeout=30).status, flush=True)\n"
    )
    script.chmod(0o755)
    command = [word for word in COMMAND if word != "--no-browser"]
    env = {**os.environ, "BROWSER": f"{script} %s"}
    with subprocess.Popen([*command, "--root", root], stdout=subprocess.PIPE, text=True, env=env) as process:
        lines = [process.stdout.readline() for _ in range(3)]
        assert lines[2] == "200\n", lines
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_listens_without_ipv6_and_without_a_name_of_the_host(monkeypatch):
    def fail(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(socket, "has_ipv6", False)
    monkeypatch.delattr(socket, "AF_INET6")
    with listen(0) as listener:
        assert listener.getsockname()[0] == LOOPBACK


def test_listens_on_the_loopback_address_on_a_free_port():
    with listen(0) as listener:
        host, port = listener.getsockname()
        assert host == LOOPBACK
        with pytest.raises(ConfigError, match=f"--port {port}: .*use 0 for any free port"):
            listen(port)
