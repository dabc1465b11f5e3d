"""The verb ``explore``."""

from __future__ import annotations

import getpass
from contextlib import suppress
from dataclasses import dataclass, field

from distspec.archives.registry import get_archive
from distspec.cli.base import RootCommand
from distspec.explorer.app import serve
from distspec.explorer.data import open_explorer_data
from distspec.explorer.session import open_annotation_session


@dataclass(frozen=True)
class ExploreCommand(RootCommand):
    """Look at the current catalogue in a browser: map, spectra, labels. Served on this machine only."""

    port: int = 0
    """Where to listen on 127.0.0.1; 0: any that is free."""
    open_browser: bool = True
    """Open the page at once."""
    who: str = field(default_factory=getpass.getuser)
    """In whose name labels are kept."""

    def run(self) -> None:
        """Serve it until interrupted."""
        explored = open_explorer_data(self.root)
        lines = get_archive(explored.store.config.archive_name).spectral_features
        with suppress(KeyboardInterrupt):
            serve(explored, open_annotation_session(self.root, self.who), lines, self.port, self.open_browser)
