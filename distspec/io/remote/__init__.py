"""Reaching an archive's files, wherever they are and whatever is wrong with them."""

from distspec.io.remote.config import DEFAULT_ACCESS, AccessConfig, Content, Listed
from distspec.io.remote.files import File, Files, is_below, open_files, run, unpack
from distspec.io.remote.listing import list_folder, read_whole

__all__ = [
    "DEFAULT_ACCESS",
    "AccessConfig",
    "Content",
    "File",
    "Files",
    "Listed",
    "is_below",
    "list_folder",
    "open_files",
    "read_whole",
    "run",
    "unpack",
]
