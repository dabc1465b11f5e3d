"""The verb ``explore``."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from distspec.cli.base import RootCommand
from distspec.core.user import user_name


@dataclass(frozen=True)
class ExploreCommand(RootCommand):
    """Browse map, spectra and labels of the current catalog.

    The page is served on this machine only, until the command is interrupted.
    """

    port: int = 0
    """Port on 127.0.0.1; 0: any free one."""
    browser: bool = True
    """Whether to open the page in a browser."""
    proxy: str = ""
    """Address at which a proxy shows the explorer, such as https://hub.example.org/user/ann/proxy/{port}/."""
    who: str = field(default_factory=user_name)
    """Who gives the labels."""

    def run(self) -> None:
        """Serve the explorer."""
        with suppress(KeyboardInterrupt):
            self.project.explore(self.port, self.browser, self.who, self.proxy)
