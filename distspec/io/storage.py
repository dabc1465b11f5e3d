"""Disks and object stores by URL: a path, s3://bucket, gs://bucket or az://container.

obstore serves the object stores: on one core it reads 5,600 ranges of 46 kB a second where s3fs reads 890
(`python -m tests.benchmarks transport`), and it puts conditionally on all of them, which a lease needs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import icechunk
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractFileSystem
from obstore.fsspec import FsspecStore
from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store

CLOUDS = ("s3", "gs", "az")
CREDENTIALS_LIVE = timedelta(minutes=2)
"""Credentials are asked for again after this: who gave them renews those that expire."""


@dataclass(frozen=True)
class StorageConfig:
    """Where a bucket is, beyond what its URL says; credentials come from the environment."""

    endpoint_url: str = ""
    """S3-compatible endpoint, such as http://minio:9000; empty: $AWS_ENDPOINT_URL, else AWS."""
    region: str = ""
    """Region of S3 buckets; empty: $AWS_REGION, $AWS_DEFAULT_REGION, else us-east-1."""

    def environment(self) -> dict[str, str]:
        """Return the environment variables that say the same to every process and library."""
        said = {"AWS_ENDPOINT_URL": self.endpoint_url, "AWS_REGION": self.region}
        return {name: value for name, value in said.items() if value}


def endpoint() -> str:
    """Return the S3 endpoint that the environment names, "" for AWS."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def region() -> str:
    """Return the region that the environment names."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


def split(url: str) -> tuple[str, str, str]:
    """Return scheme, bucket and key; of a local path "file", "" and the path.

    Raises
    ------
    ValueError
        When nothing here can serve the scheme.

    Examples
    --------
    >>> split("s3://bucket/a/b")
    ('s3', 'bucket', 'a/b')
    >>> split("/data/a b")
    ('file', '', '/data/a b')
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme == "file":
        return "file", "", str(Path(rest if separator else url).expanduser())
    scheme = {"gcs": "gs", "s3a": "s3", "azure": "az"}.get(scheme, scheme)
    if scheme not in CLOUDS:
        raise ValueError(f"{url}: use a folder, s3://bucket/…, gs://bucket/… or az://container/…")
    bucket, _, key = rest.partition("/")
    return scheme, bucket, key.strip("/")


def bucket(scheme: str, name: str, prefix: str = "") -> ObjectStore:
    """Return a bucket, or what lies below a prefix in it, as the environment reaches it."""
    return open_bucket(scheme, name, endpoint(), region(), anonymous=False, prefix=prefix)


@lru_cache(maxsize=64)
def open_bucket(
    scheme: str, name: str, endpoint_url: str, region_name: str, anonymous: bool, prefix: str = ""
) -> ObjectStore:
    """Return a bucket.

    Raises
    ------
    ValueError
        When there are no credentials and the bucket is not read anonymously.
    """
    client: Any = {"allow_http": endpoint_url.startswith("http://")}
    below = prefix or None
    if scheme == "gs":
        return GCSStore(name, prefix=below, client_options=client, skip_signature=anonymous)
    if scheme == "az":
        return AzureStore(name, prefix=below, client_options=client, skip_signature=anonymous)
    where: Any = {"region": region_name, "prefix": below, "client_options": client}
    where |= {"endpoint": endpoint_url} if endpoint_url else {}
    if anonymous:
        return S3Store(name, skip_signature=True, **where)
    # boto3's whole chain: environment, profiles, SSO, credential processes, containers, instances.
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        provider: Any = Boto3CredentialProvider(ttl=CREDENTIALS_LIVE)
    except ValueError as error:
        raise ValueError(
            f"no credentials for s3://{name}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE "
            "or an instance role; a public archive needs --access.anonymous"
        ) from error
    return S3Store(name, credential_provider=provider, **where)


def filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """Return an fsspec filesystem and the path in it: what Arrow reads and writes data sets through."""
    scheme, name, key = split(url)
    if scheme == "file":
        return LocalFileSystem(auto_mkdir=True), key
    config: dict[str, Any] = {"client_options": {"allow_http": endpoint().startswith("http://")}}
    if scheme == "s3":
        store: Any = bucket(scheme, name)
        config |= {"region": region(), "credential_provider": store.credential_provider}
        config |= {"endpoint": endpoint()} if endpoint() else {}
    stores: Any = FsspecStore  # its overloads know no scheme that is a variable
    return stores(scheme, **config), f"{name}/{key}"


def icechunk_storage(url: str) -> icechunk.Storage:
    """Return Icechunk's view of a folder or of a bucket and prefix."""
    scheme, name, key = split(url)
    if scheme == "file":
        return icechunk.local_filesystem_storage(key)
    if scheme == "gs":
        return icechunk.gcs_storage(bucket=name, prefix=key, from_env=True)
    if scheme == "az":
        account = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", "")
        if not account:
            raise ValueError(f"{url}: set AZURE_STORAGE_ACCOUNT_NAME to the storage account")
        return icechunk.azure_storage(account=account, container=name, prefix=key, from_env=True)
    where: Mapping[str, Any] = {}
    if endpoint():
        where = {
            "endpoint_url": endpoint(),
            "allow_http": endpoint().startswith("http://"),
            "force_path_style": True,
        }
    return icechunk.s3_storage(bucket=name, prefix=key, region=region(), from_env=True, **where)
