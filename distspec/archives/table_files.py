"""What files of spectra hold, as far as a listing needs it."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.io.remote.config import AccessConfig
from distspec.io.remote.files import ArchiveClient, open_archive_client, run_coroutine
from distspec.io.spectra import CleanSpectrum, ReadOptions, SpectrumFile, read_spectra


@dataclass(frozen=True, slots=True)
class SpectrumSummary:
    """What the listing needs of a spectrum in a file.

    Attributes
    ----------
    z, ra, dec : float
        Redshift and position [deg] in the file; NaN if it has none.
    checksum : str
        Checksum of wavelengths, flux, inverse variances and unit.
    n_pixels, n_valid : int
        Number of pixels, and of those that are not masked; 0 if the spectrum cannot be used.
    wave_min, wave_max : float
        Range of wavelengths [um].
    sampling : float
        Median wavelength divided by the width of a pixel.
    unit : str
        Unit of the flux density; "" if only its shape is known.
    medium : {"air", "vacuum", ""}
        What the file says that its wavelengths are in; "" if it does not say.
    error_origin : str
        Where the errors are from.
    notes : tuple of str
        What was converted, left out or estimated.
    """

    z: float = math.nan
    ra: float = math.nan
    dec: float = math.nan
    checksum: str = ""
    n_pixels: int = 0
    n_valid: int = 0
    wave_min: float = math.nan
    wave_max: float = math.nan
    sampling: float = math.nan
    unit: str = ""
    medium: str = ""
    error_origin: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def from_spectrum(cls, spectrum: CleanSpectrum) -> SpectrumSummary:
        """Summarize a spectrum.

        Parameters
        ----------
        spectrum : CleanSpectrum
            Spectrum that was read from a file.
        """
        arrays = (
            np.asarray(values, "<f8").tobytes() for values in (spectrum.wave, spectrum.flux, spectrum.ivar)
        )
        wave = spectrum.wave
        return cls(
            spectrum.z,
            spectrum.ra,
            spectrum.dec,
            checksum=compute_digest(spectrum.unit, *arrays),
            n_pixels=len(wave),
            n_valid=int((spectrum.ivar > 0).sum()),
            wave_min=float(wave[0]),
            wave_max=float(wave[-1]),
            sampling=float(1.0 / np.median(np.diff(np.log(wave)))),
            unit=spectrum.unit,
            medium=spectrum.medium,
            error_origin="given" if spectrum.has_errors else "estimated from the scatter",
            notes=spectrum.notes,
        )


@dataclass(frozen=True, slots=True)
class FileSummary:
    """What the listing needs of a file.

    Attributes
    ----------
    form : str
        What the file was understood as, and its columns.
    ids : sequence of str, length n_spectra
        Identifiers of the spectra within the file; "" for the only one.
    spectra : sequence of SpectrumSummary or InvalidSpectrumError, length n_spectra
        The spectra, or why one cannot be used.
    """

    form: str
    ids: Sequence[str]
    spectra: Sequence[SpectrumSummary | InvalidSpectrumError]

    def __len__(self) -> int:
        return len(self.spectra)

    @classmethod
    def from_file(cls, file: SpectrumFile) -> FileSummary:
        """Summarize a file.

        Parameters
        ----------
        file : SpectrumFile
            The spectra of the file.
        """

        def read(number: int) -> SpectrumSummary | InvalidSpectrumError:
            try:
                return SpectrumSummary.from_spectrum(file.read(number))
            except InvalidSpectrumError as error:
                return error

        return cls(f"{file.form}; {file.describe_columns()}", file.ids(), [read(i) for i in range(len(file))])


def read_file_summaries(
    options: ReadOptions, base: str, urls: Sequence[str], access: AccessConfig
) -> list[FileSummary | InvalidSpectrumError]:
    """Read files, many at a time, and summarize what they hold.

    Parameters
    ----------
    options : ReadOptions
        Options of the reader.
    base : str
        URL of the folder or bucket of the files.
    urls : sequence of str
        The files.
    access : AccessConfig
        Credentials, limits and timeouts.

    Returns
    -------
    list of FileSummary or InvalidSpectrumError
        For each file what it holds, or the error for which it cannot be read.
    """
    return run_coroutine(_read_file_summaries(options, base, urls, access))


async def _read_file_summaries(
    options: ReadOptions, base: str, urls: Sequence[str], access: AccessConfig
) -> list[FileSummary | InvalidSpectrumError]:
    async def read(client: ArchiveClient, url: str) -> FileSummary | InvalidSpectrumError:
        try:
            content = (await client.get_file(url).read_all()).data
            return FileSummary.from_file(read_spectra(content, url.rpartition("/")[2], options))
        except InvalidSpectrumError as error:
            return error
        except Exception as error:  # a damaged file can make a parser fail with any type of error
            return InvalidSpectrumError(QuarantineReason.UNREADABLE, f"{type(error).__name__}: {error}")

    async with open_archive_client(base, access) as client:
        return list(await asyncio.gather(*(read(client, url) for url in urls)))


def name_flags(error: InvalidSpectrumError) -> InvalidSpectrumError:
    """Return an error of the reader that names the flags of `distspec run` instead of `distspec describe`.

    Parameters
    ----------
    error : InvalidSpectrumError
        Error of `distspec.io.spectra`.
    """
    detail = re.sub(r"--(?=(?:columns|units)\.|hdu\b|error-kind\b|air\b)", "--archive.", error.detail)
    return InvalidSpectrumError(error.reason, detail)


def compute_digest(*parts: str | bytes) -> str:
    """Return a checksum of texts and bytes.

    Parameters
    ----------
    *parts : str or bytes
        What the checksum is of.
    """
    checksum = blake2b(digest_size=6)
    for part in parts:
        checksum.update(part.encode() if isinstance(part, str) else part)
    return checksum.hexdigest()
