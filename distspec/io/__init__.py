"""Access to local folders, object stores and web servers, and the formats of single files.

It holds files below a root, the lease and the job log of a root, Parquet files with units, a strict FITS
reader (`distspec.io.fits`) and the client that reads the files of an archive (`distspec.io.remote`). It
imports `distspec.core` only.
"""

from distspec.io.storage import StorageConfig, get_storage, use_storage

__all__ = ["StorageConfig", "get_storage", "use_storage"]
