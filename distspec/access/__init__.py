"""Reaching an archive's files, wherever they are and whatever is wrong with them."""

from distspec.access.config import DEFAULT_ACCESS, AccessConfig, Content, Listed
from distspec.access.files import File, Files, is_below, open_files
from distspec.access.folders import list_folder, read_whole
from distspec.access.running import run
from distspec.access.unpacking import unpack

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
