"""The errors that distspec raises, and the reasons for which spectra are quarantined.

Every error that a user can correct derives from `DistspecError`; commands print it as one line. The message
names the file or setting, its value and the remedy. Any other exception is a fault of the program and keeps
its traceback. All errors can be pickled, because they come from Ray workers too.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class DistspecError(Exception):
    """Base class of the errors that a user can correct.

    Attributes
    ----------
    exit_status : int
        Exit status of a command that ends with this error.
    """

    exit_status: ClassVar[int] = 1


class ConfigError(DistspecError, ValueError):
    """A setting or an argument has an invalid value."""

    exit_status = 2


class NotFoundError(DistspecError, FileNotFoundError):
    """A file, store, model or run does not exist; the message names the command that makes it."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class StorageError(DistspecError, OSError):
    """A file or an object store cannot be read or written: permissions, a full disk, no answer."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class LeaseHeldError(DistspecError):
    """Another job holds the lease of the root."""

    exit_status = 75


class LeaseLostError(DistspecError):
    """The lease of the root expired, or another job has taken it, while this job was running."""


class ArchiveError(DistspecError, ValueError):
    """The catalog or the folder of an archive cannot be used."""


class StoreError(DistspecError, ValueError):
    """The store is damaged, has another format, or was made with other settings."""


class ModelError(DistspecError, ValueError):
    """A trained model cannot be read, or does not fit the store."""


class TrainingError(DistspecError, RuntimeError):
    """Training cannot start or continue: too few spectra, no GPU, a loss that is not finite."""


class TrainingDivergedError(TrainingError, FloatingPointError):
    """A gradient or a loss is not finite; training again with the same settings would fail again."""


class ClusteringError(DistspecError, RuntimeError):
    """Clustering cannot start or continue."""


class CatalogError(DistspecError, ValueError):
    """A published catalog cannot be read, queried or exported as requested."""


class LabelError(DistspecError, ValueError):
    """Labels cannot be imported, exported or learned from."""


class QuarantineReason(StrEnum):
    """Why a spectrum is quarantined; each spectrum has one reason."""

    NOT_FOUND = "not_found"
    """The catalog lists the spectrum, but the archive has no such file."""
    UNREACHABLE = "unreachable"
    """The server did not answer before the deadline, or answered with errors."""
    DENIED = "denied"
    """The server or the file system refused access."""
    OUTSIDE = "outside"
    """The URL, or a redirect from it, leads outside the configured locations."""
    BAD_ID = "bad_id"
    """The key cannot be used as a name: it is empty, too long, or contains a path or control characters."""
    AMBIGUOUS = "ambiguous"
    """One listing has the key several times, with different values."""
    BAD_ROW = "bad_row"
    """A cell of the catalog's row that is needed is malformed; the detail names row, column and value."""
    TOO_LARGE = "too_large"
    """The file, its uncompressed content, or the declared size of a table exceeds the limit."""
    UNREADABLE = "unreadable"
    """The file is truncated, damaged or not a FITS file."""
    BAD_CHECKSUM = "bad_checksum"
    """The content does not match the checksum in the file."""
    BAD_TABLE = "bad_table"
    """The table, columns, shapes or units are not those of the archive's format."""
    BAD_WAVE = "bad_wave"
    """The wavelengths are not finite, positive and strictly increasing."""
    NO_REDSHIFT = "no_redshift"
    """The redshift is missing, not finite, or not greater than -1."""
    BAD_POSITION = "bad_position"
    """Right ascension or declination is missing or out of range."""
    NOT_A_TARGET = "not_a_target"
    """A sky fiber or a broken fiber: no object was observed."""
    FLAGGED = "flagged"
    """The archive flags the redshift as unreliable."""
    NO_VALID_PIXELS = "no_valid_pixels"
    """All pixels are masked."""
    NO_OVERLAP = "no_overlap"
    """No valid pixel falls on the wavelength grid of the store."""
    NO_NORMALIZATION = "no_normalisation"
    """The flux is not significantly positive in any normalization window."""
    CRASHED = "crashed"
    """Reading the spectrum ended the worker process, twice and alone."""


TRANSIENT_REASONS = frozenset(
    {
        QuarantineReason.NOT_FOUND,
        QuarantineReason.UNREACHABLE,
        QuarantineReason.DENIED,
        QuarantineReason.CRASHED,
    }
)
"""Reasons that may not apply at the next attempt: ``distspec retry`` reads these spectra again."""


class InvalidSpectrumError(ArchiveError):
    """A spectrum cannot be used.

    Parameters
    ----------
    reason : QuarantineReason
        Reason for which it is quarantined.
    detail : str
        What was found, for whoever looks at the file next.
    """

    def __init__(self, reason: QuarantineReason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


@dataclass(frozen=True, slots=True)
class QuarantineRecord:
    """One row of the quarantine.

    Attributes
    ----------
    object_id : str
        Unique key of the spectrum in the archive.
    version : str
        Version of the spectrum in the archive's listing.
    uri : str
        File, and after ``#`` the part of it.
    reason : QuarantineReason
        Reason for which it is quarantined.
    detail : str
        What was found.
    """

    object_id: str
    version: str
    uri: str
    reason: QuarantineReason
    detail: str
