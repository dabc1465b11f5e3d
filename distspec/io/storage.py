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

OBJECT_STORE_SCHEMES = ("s3", "gs", "az")
CREDENTIALS_TTL = timedelta(minutes=2)
"""Credentials are asked for again after this: who gave them renews those that expire."""


@dataclass(frozen=True)
class StorageConfig:
    """Where a bucket is, beyond what its URL says; credentials come from the environment."""

    endpoint_url: str = ""
    """S3-compatible endpoint, such as http://minio:9000; empty: $AWS_ENDPOINT_URL, else AWS."""
    region: str = ""
    """Region of S3 buckets; empty: $AWS_REGION, $AWS_DEFAULT_REGION, else us-east-1."""

    def to_environment(self) -> dict[str, str]:
        """Return the environment variables that say the same to every process and library."""
        said = {"AWS_ENDPOINT_URL": self.endpoint_url, "AWS_REGION": self.region}
        return {name: value for name, value in said.items() if value}


def get_endpoint_url() -> str:
    """Return the S3 endpoint that the environment names, "" for AWS."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def get_region() -> str:
    """Return the region that the environment names."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


def split_url(url: str) -> tuple[str, str, str]:
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
    if scheme not in OBJECT_STORE_SCHEMES:
        raise ValueError(f"{url}: use a folder, s3://bucket/…, gs://bucket/… or az://container/…")
    bucket, _, key = rest.partition("/")
    return scheme, bucket, key.strip("/")


def open_bucket_from_env(scheme: str, bucket: str, prefix: str = "") -> ObjectStore:
    """Return a bucket, or what lies below a prefix in it, as the environment reaches it."""
    return open_bucket(scheme, bucket, get_endpoint_url(), get_region(), anonymous=False, prefix=prefix)


@lru_cache(maxsize=64)
def open_bucket(
    scheme: str, bucket: str, endpoint_url: str, region: str, anonymous: bool, prefix: str = ""
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
        return GCSStore(bucket, prefix=below, client_options=client, skip_signature=anonymous)
    if scheme == "az":
        return AzureStore(bucket, prefix=below, client_options=client, skip_signature=anonymous)
    where: Any = {"region": region, "prefix": below, "client_options": client}
    where |= {"endpoint": endpoint_url} if endpoint_url else {}
    if anonymous:
        return S3Store(bucket, skip_signature=True, **where)
    # boto3's whole chain: environment, profiles, SSO, credential processes, containers, instances.
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        provider: Any = Boto3CredentialProvider(ttl=CREDENTIALS_TTL)
    except ValueError as error:
        raise ValueError(
            f"no credentials for s3://{bucket}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE "
            "or an instance role; a public archive needs --access.anonymous"
        ) from error
    return S3Store(bucket, credential_provider=provider, **where)


def url_to_fs(url: str) -> tuple[AbstractFileSystem, str]:
    """Return an fsspec filesystem and the path in it: what Arrow reads and writes data sets through."""
    scheme, name, key = split_url(url)
    if scheme == "file":
        return LocalFileSystem(auto_mkdir=True), key
    config: dict[str, Any] = {"client_options": {"allow_http": get_endpoint_url().startswith("http://")}}
    if scheme == "s3":
        store: Any = open_bucket_from_env(scheme, name)
        config |= {"region": get_region(), "credential_provider": store.credential_provider}
        config |= {"endpoint": get_endpoint_url()} if get_endpoint_url() else {}
    stores: Any = FsspecStore  # its overloads know no scheme that is a variable
    return stores(scheme, **config), f"{name}/{key}"


def icechunk_storage(url: str) -> icechunk.Storage:
    """Return Icechunk's view of a folder or of a bucket and prefix."""
    scheme, name, key = split_url(url)
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
    if get_endpoint_url():
        where = {
            "endpoint_url": get_endpoint_url(),
            "allow_http": get_endpoint_url().startswith("http://"),
            "force_path_style": True,
        }
    return icechunk.s3_storage(bucket=name, prefix=key, region=get_region(), from_env=True, **where)
