"""Errors that distspec raises, and why a spectrum is quarantined.

Every error that a user can correct derives from `DistspecError`; commands print it as one line with the remedy.
Any other exception is a fault of the program and keeps its traceback.
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
    """A setting or an argument has an impossible value."""

    exit_status = 2


class NotFoundError(DistspecError, FileNotFoundError):
    """What a command needs does not exist yet; the message names the command that makes it."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class StorageError(DistspecError, OSError):
    """A file or an object store cannot be read or written: permissions, a full disk, no answer."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class LeaseHeldError(DistspecError):
    """Another job works on the root now."""

    exit_status = 75


class LeaseLostError(DistspecError):
    """The lease of the root expired, or another job has taken it, while this job was running."""


class ArchiveError(DistspecError, ValueError):
    """An archive's catalogue or folder cannot be used as a whole."""


class StoreError(DistspecError, ValueError):
    """The store is damaged, of another format, or was made with other settings."""


class ModelError(DistspecError, ValueError):
    """A trained model cannot be read, or does not fit the store."""


class TrainingError(DistspecError, RuntimeError):
    """Training cannot start or go on: too few spectra, no GPU, a loss that is not finite."""


class ClusteringError(DistspecError, RuntimeError):
    """Clustering cannot start or go on."""


class CatalogError(DistspecError, ValueError):
    """A published catalogue cannot be read, queried or exported as asked."""


class LabelError(DistspecError, ValueError):
    """Labels cannot be imported, exported or learned from."""


class QuarantineReason(StrEnum):
    """Why a spectrum is in quarantine: one code a spectrum."""

    NOT_FOUND = "not_found"
    """The catalogue names it, the archive has no such file."""
    UNREACHABLE = "unreachable"
    """Its server did not answer, or answered with an error, until the deadline passed."""
    DENIED = "denied"
    """Its server refused access."""
    OUTSIDE = "outside"
    """Its URL, or where that was redirected, lies outside the configured places."""
    BAD_ID = "bad_id"
    """Its key cannot be a name: empty, too long, or with a path or control characters in it."""
    AMBIGUOUS = "ambiguous"
    """One listing names the key more than once, each time with something else."""
    TOO_LARGE = "too_large"
    """The file, what it unpacks to, or a table's declared size is over the limit."""
    UNREADABLE = "unreadable"
    """The file is cut short, damaged or no FITS file."""
    BAD_CHECKSUM = "bad_checksum"
    """The bytes are not those that the file's own checksum vouches for."""
    BAD_TABLE = "bad_table"
    """The file opens, but the spectrum's table, columns or units are not what the format says."""
    BAD_WAVE = "bad_wave"
    """Wavelengths are not finite, positive and strictly increasing."""
    NO_REDSHIFT = "no_redshift"
    """The redshift is missing, not finite, or not above -1."""
    BAD_POSITION = "bad_position"
    """Right ascension or declination is missing or not on the sky."""
    NOT_A_TARGET = "not_a_target"
    """A sky or broken fibre: no object was observed."""
    FLAGGED = "flagged"
    """The archive itself warns of its redshift."""
    NO_VALID_PIXELS = "no_valid_pixels"
    """Every pixel is masked."""
    NO_OVERLAP = "no_overlap"
    """No valid pixel falls on the store's wavelength grid."""
    NO_NORMALISATION = "no_normalisation"
    """No window has a flux that is positive beyond its noise."""
    CRASHED = "crashed"
    """Reading it ended the worker process, by itself and again."""


TRANSIENT_REASONS = frozenset(
    {
        QuarantineReason.NOT_FOUND,
        QuarantineReason.UNREACHABLE,
        QuarantineReason.DENIED,
        QuarantineReason.CRASHED,
    }
)
"""Causes that may be gone tomorrow: ``distspec retry`` reads these again."""


class InvalidSpectrumError(ArchiveError):
    """A spectrum that cannot be used.

    Parameters
    ----------
    reason : QuarantineReason
        The one code it is quarantined under.
    detail : str
        What was found, in words that help whoever looks at the file next.
    """

    def __init__(self, reason: QuarantineReason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


@dataclass(frozen=True, slots=True)
class QuarantineRecord:
    """One row of the quarantine."""

    object_id: str
    version: str
    uri: str
    reason: QuarantineReason
    detail: str
