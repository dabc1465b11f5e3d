"""Metadata of the package that is made when it is built: the long description and the project's addresses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?!https?:)(?P<path>[^)]+)\)")
"""Link of Markdown to a file of the repository, which is broken on any other page."""


def make_links_absolute(text: str, repository: str, version: str) -> str:
    """Return Markdown whose links to files lead to the repository, at the tag of a version.

    Parameters
    ----------
    text : str
        Markdown with links relative to the top of the repository.
    repository : str
        Address of the repository; empty: such links become plain text, and such images are left out.
    version : str
        Version, whose tag is v<version>.

    Examples
    --------
    >>> make_links_absolute("[a](docs/a.md) [b](https://example.org)", "https://example.org/r", "1.0")
    '[a](https://example.org/r/blob/v1.0/docs/a.md) [b](https://example.org)'
    """

    def replace(match: re.Match[str]) -> str:
        if not repository:
            return "" if match["image"] else match["text"]
        kind = "raw" if match["image"] else "blob"
        return f"{match['image']}[{match['text']}]({repository}/{kind}/v{version}/{match['path']})"

    return LINK.sub(replace, text)


class ProjectPages(MetadataHookInterface):
    """Set the dynamic fields ``readme`` and ``urls`` from the option ``repository``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the fields; without an address there are no URLs."""
        repository, version = self.config["repository"].rstrip("/"), metadata["version"]
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        readme = make_links_absolute(text, repository, version)
        metadata["readme"] = {"content-type": "text/markdown", "text": readme}
        pages = {
            "Source": "",
            "Documentation": f"/blob/v{version}/docs/index.md",
            "Changelog": f"/blob/v{version}/CHANGELOG.md",
            "Issues": "/issues",
        }
        metadata["urls"] = {name: f"{repository}{path}" for name, path in pages.items()} if repository else {}
