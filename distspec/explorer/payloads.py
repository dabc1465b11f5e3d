"""The JSON values that the explorer's page receives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from distspec.core import colors
from distspec.core.records import JsonRecord


@dataclass(frozen=True)
class ColumnInfo(JsonRecord):
    """A column of ``objects``.

    Attributes
    ----------
    name : str
        Name of the column.
    value_type : {"number", "category", "text"}
        Numbers and categories can be colors of the map; text can only be searched.
    unit : str
        Unit; empty for none.
    description : str
        Meaning of the column.
    categories : tuple of str
        Values of a category, in the order of their codes.
    group : str
        Group in lists of columns, see `distspec.explorer.columns.GROUPS`.
    """

    name: str
    value_type: Literal["number", "category", "text"]
    unit: str
    description: str
    categories: tuple[str, ...] = ()
    group: str = ""


@dataclass(frozen=True)
class ObjectSummary(JsonRecord):
    """A spectrum in a list.

    Attributes
    ----------
    row : int
        Row of the spectrum in ``objects``.
    object_id : str
        Identifier of the spectrum.
    z : float or None
        Redshift.
    anomaly_score : float or None
        Anomaly score [dex].
    ln_bayes_factor : float or None
        Similarity to the open spectrum, see `distspec.models.neighbors`; None in other lists.
    """

    row: int
    object_id: str
    z: float | None
    anomaly_score: float | None
    ln_bayes_factor: float | None = None


@dataclass(frozen=True)
class AnnotationPayload(JsonRecord):
    """Latest label or mark of one annotator for a spectrum.

    Attributes
    ----------
    annotator : str
        Name of the annotator.
    label : str
        Label or mark.
    when : str
        Time, in text.
    note : str
        Comment of the annotator.
    """

    annotator: str
    label: str
    when: str
    note: str


@dataclass(frozen=True)
class ColorPalette(JsonRecord):
    """Colors of the page, as #rrggbb.

    Attributes
    ----------
    classes : tuple of str
        Colors of classes and categories.
    none : str
        Color of missing values and noise.
    data, error, model, muted : str
        Colors of the curves in the spectrum.
    sequential : tuple of str
        Colors of increasing numbers.
    """

    classes: tuple[str, ...] = colors.CLASS_COLORS
    none: str = colors.UNCLASSIFIED_COLOR
    data: str = colors.DATA_COLOR
    error: str = colors.ERROR_COLOR
    model: str = colors.MODEL_COLOR
    muted: str = colors.MUTED_COLOR
    sequential: tuple[str, ...] = colors.SEQUENTIAL_COLORS


@dataclass(frozen=True)
class CatalogPayload(JsonRecord):
    """What the page needs before it draws the map.

    Attributes
    ----------
    root, run_id, published : str
        Root URL, run, and time of publication.
    n : int
        Number of spectra.
    norm_wave : float
        Rest wavelength at which the spectra are normalized [Angstrom].
    norm_unit : str
        Unit of the flux density.
    wave_rest : tuple of float
        Rest-frame wavelength grid [Angstrom].
    lines : mapping of str to float
        Rest wavelengths of spectral features [Angstrom].
    line_lists : mapping of str to mapping
        Further lists of features by name.
    columns : tuple of ColumnInfo
        Columns of ``objects``.
    groups : tuple of str
        Groups of columns in their order.
    anomaly_components : tuple of str
        Columns that the anomaly score is computed from [dex].
    bad_pixel_limits : mapping of str to float
        Columns of bad-pixel statistics, with the values from which on a spectrum is flagged.
    classes : tuple of mapping
        Rows of ``classes``.
    top_anomalies : tuple of ObjectSummary
        Spectra with the highest anomaly scores.
    annotator : str
        Name in which labels are saved.
    label_names : tuple of str
        Labels that the number keys give.
    marks : tuple of str
        Marks: interesting and ordinary.
    colors : ColorPalette
        Colors of the page.
    """

    root: str
    run_id: str
    published: str
    n: int
    norm_wave: float
    norm_unit: str
    wave_rest: tuple[float, ...]
    lines: Mapping[str, float]
    line_lists: Mapping[str, Mapping[str, float]]
    columns: tuple[ColumnInfo, ...]
    groups: tuple[str, ...]
    anomaly_components: tuple[str, ...]
    bad_pixel_limits: Mapping[str, float]
    classes: tuple[Mapping[str, Any], ...]
    top_anomalies: tuple[ObjectSummary, ...]
    annotator: str
    label_names: tuple[str, ...]
    marks: tuple[str, ...]
    colors: ColorPalette


@dataclass(frozen=True)
class ObjectPayload(JsonRecord):
    """The open spectrum.

    Attributes
    ----------
    values : mapping
        Its row of ``objects`` without the latents; None for values that are not finite.
    archive_url : str
        Address of its page in the archive; empty for none.
    neighbors : tuple of ObjectSummary
        The most similar spectra.
    annotations : tuple of AnnotationPayload
        Its labels and marks.
    """

    values: Mapping[str, Any]
    archive_url: str
    neighbors: tuple[ObjectSummary, ...]
    annotations: tuple[AnnotationPayload, ...]


@dataclass(frozen=True)
class ExplanationPayload(JsonRecord):
    """Anomaly score and bad pixels of the open spectrum, in words, and p(z).

    Attributes
    ----------
    reason : str
        Why the spectrum is anomalous; empty if the catalog lacks the components of the score.
    bad_pixels : str
        Statistic that exceeds its threshold most; empty if none does.
    pdf_z, pdf_probability : tuple of float
        Redshifts and their probabilities; empty if no redshift was measured.
    """

    reason: str
    bad_pixels: str
    pdf_z: tuple[float, ...] = ()
    pdf_probability: tuple[float, ...] = ()


@dataclass(frozen=True)
class SearchPayload(JsonRecord):
    """Result of a search.

    Attributes
    ----------
    interpretation : str
        How the query was understood.
    total : int
        Number of spectra found.
    rows : tuple of int
        Their rows in ``objects``, limited in number.
    """

    interpretation: str
    total: int
    rows: tuple[int, ...]
