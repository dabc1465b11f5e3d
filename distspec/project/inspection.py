"""Methods of a project that inspect its data and results."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distspec.core.arrow import pc
from distspec.core.errors import ConfigError, QuarantineReason
from distspec.core.user import user_name
from distspec.io.paths import store_url
from distspec.project.tables import QueryResult
from distspec.store.snapshots import list_snapshots, tag_snapshot
from distspec.store.store import open_store

if TYPE_CHECKING:
    from distspec.explorer.server import RunningExplorer
    from distspec.operations.integrity import Verification
    from distspec.operations.trace import Provenance


from distspec.project.base import ProjectBase, with_storage


@dataclass(frozen=True)
class EncoderReport:
    """Comparison of encoders.

    Attributes
    ----------
    scores : QueryResult
        One row per encoder and property; the columns are those of the table ``leakage``, with the encoder and
        the task, "classes" or "leakage".
    agreement : QueryResult
        Fraction of shared neighbors of each pair of encoders.
    page : str
        Path or URL of the page.
    """

    scores: QueryResult
    agreement: QueryResult
    page: str


class InspectionMethods(ProjectBase):
    """Methods of a project that inspect its data and results."""

    @with_storage
    def verify(self, snapshot: str = "") -> Verification:
        """Check the store and everything published: checksums of rows, files and records.

        Parameters
        ----------
        snapshot : str
            Id or tag of the snapshot of the store to check; empty: the newest.
        """
        from distspec.operations.integrity import verify_root

        return verify_root(self.root, snapshot)

    @with_storage
    def provenance(self, object_id: str, run_id: str = "") -> Provenance:
        """Return the provenance of a spectrum's row; see `distspec.operations.trace.trace_spectrum`.

        Parameters
        ----------
        object_id : str
            Identifier of the spectrum.
        run_id : str
            Run whose catalog is traced; empty: that of the current edition.

        Returns
        -------
        Provenance
        """
        from distspec.operations.trace import trace_spectrum

        return trace_spectrum(self.root, object_id, run_id)

    @with_storage
    def quarantine(self, reason: str = "") -> QueryResult:
        """Return the spectra that could not be used.

        Parameters
        ----------
        reason : str
            Code of `distspec.core.errors.QuarantineReason`; empty: all.

        Raises
        ------
        ConfigError
            If there is no such reason.
        """
        if reason and reason not in list(QuarantineReason):
            raise ConfigError(f"there is no reason {reason!r}: choose from {', '.join(QuarantineReason)}")
        table = open_store(store_url(self.root)).read_quarantine()
        return QueryResult(table.filter(pc.field("reason") == reason) if reason else table)

    @with_storage
    def compare_encoders(
        self,
        embeddings: Mapping[str, str] | None = None,
        classes: str = "",
        class_column: str = "",
        seed: int = 0,
    ) -> EncoderReport:
        """Compare the model of the current edition with weighted PCA and with tables of embeddings.

        Parameters
        ----------
        embeddings : mapping of str to str, optional
            Files of embeddings by name: Parquet, CSV, ECSV, FITS or VOTable with a column ``object_id`` (or
            ``source_id``), and a column for each dimension or one of lists.
        classes : str
            Table of known classes, with the same identifiers; empty: none.
        class_column : str
            Column of that table; empty: ``truth_class``, or else the only other column.
        seed : int
            Seed of the sample, of the permutations and of weighted PCA.

        Returns
        -------
        EncoderReport
            Scores, agreement of neighbors, and the address of the page that shows them.
        """
        from distspec.report.encoder_page import write_encoder_page
        from distspec.report.encoder_scores import compare_encoders

        found = compare_encoders(self.root, embeddings or {}, classes, class_column, seed)
        page = write_encoder_page(found, self.root)
        return EncoderReport(QueryResult(found.scores), QueryResult(found.agreement), page)

    @with_storage
    def snapshots(self) -> QueryResult:
        """Return the snapshots of the store, newest first."""
        return QueryResult(list_snapshots(self.root))

    @with_storage
    def tag(self, name: str, snapshot_id: str = "") -> None:
        """Give a snapshot of the store a name, which protects it from garbage collection.

        Parameters
        ----------
        name : str
            Name of the tag, for example that of a data release.
        snapshot_id : str
            Id of the snapshot; empty: the newest.
        """
        tag_snapshot(self.root, name, open_store(store_url(self.root), snapshot_id).snapshot_id)

    @with_storage
    def explore(
        self,
        port: int = 0,
        open_browser: bool = True,
        user: str = "",
        proxy: str = "",
        height: int = 800,
    ) -> RunningExplorer | None:
        """Serve the explorer of the current edition on this machine.

        In a notebook it is served by a thread and shown in a frame below the cell; otherwise until it is
        interrupted.

        Parameters
        ----------
        port : int
            Port on 127.0.0.1; 0: any free one.
        open_browser : bool
            Whether to open the page in a browser; a notebook shows it instead.
        user : str
            Who gives the labels; empty: the name of the operating system's user.
        proxy : str
            Address at which a proxy such as jupyter-server-proxy shows the explorer, for example
            ``https://hub.example.org/user/ann/proxy/{port}/``; empty: none.
        height : int
            Height of the frame in a notebook [pixels].

        Returns
        -------
        RunningExplorer or None
            In a notebook the explorer, which is the frame when a cell ends with it, with its address and
            a method ``stop``.
        """
        from distspec.archives.registry import get_archive
        from distspec.explorer.data import open_explorer_data
        from distspec.explorer.server import serve, start
        from distspec.explorer.session import open_annotation_session

        data = open_explorer_data(self.root)
        lines = get_archive(data.store.config.archive_name).spectral_features
        session = open_annotation_session(self.root, user or user_name())
        if is_notebook():
            return start(data, session, lines, port, proxy, height)
        serve(data, session, lines, port, open_browser, proxy)
        return None


def is_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None
