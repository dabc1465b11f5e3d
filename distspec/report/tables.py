"""Tables and numbers of the report page, and their formatting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.catalog.run_record import SelectionRecord
from distspec.core.schema import Column
from distspec.core.spectrum import Floats
from distspec.report.data import ReportData

MAX_P_VALUE = 0.05
"""Corrected p-value up to which a group of spectra is called unusual."""
PROPERTY_NAMES: Mapping[str, str] = {
    "snr": "log S/N",
    "n_valid": "coverage",
    "truth_class": "true class",
    "msa_configuration": "MSA configuration",
    "msa_quadrant": "MSA quadrant",
}
"""Words for columns that say more than their names."""


@dataclass(frozen=True)
class SummaryItem:
    """One number at the top of the page.

    Attributes
    ----------
    value : str
        Formatted number.
    label : str
        What the number counts or measures.
    note : str
        Small print.
    """

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class SimilarClass:
    """The class that the members of a class are most easily confused with.

    Attributes
    ----------
    label : int
        Label of the other class.
    probability : float
        Mean probability of the other class among the members.
    """

    label: int
    probability: float


@dataclass(frozen=True)
class MeasurementRow:
    """A measurement of the median spectrum of every class.

    Attributes
    ----------
    column : Column
        Name, unit and description of the measurement.
    values, errors : tuple of float or None
        Value and error for each class; None if not covered.
    """

    column: Column
    values: tuple[float | None, ...]
    errors: tuple[float | None, ...]


def float_column(table: pa.Table, name: str) -> Floats:
    """Return a numeric column as float64, with NaN for nulls.

    Parameters
    ----------
    table : pyarrow.Table
        Table with the column.
    name : str
        Name of the column.

    Returns
    -------
    ndarray of shape (n_rows,), float64
    """
    return np.asarray(table[name].cast("float64").to_numpy(), float)


def get_cluster_labels(table: pa.Table) -> NDArray[np.int64]:
    """Return the column ``cluster_label``, with -1 (noise) for nulls.

    Parameters
    ----------
    table : pyarrow.Table
        Table with the column.

    Returns
    -------
    ndarray of shape (n_rows,), int64
    """
    return np.nan_to_num(float_column(table, "cluster_label"), nan=-1).astype(np.int64)


def get_class_median(class_medians: pa.Table, label: int) -> Floats:
    """Return the median spectrum of a class, of shape (n_pixels,).

    Parameters
    ----------
    class_medians : Table
        Published table ``class_medians``.
    label : int
        Label of the class.
    """
    rows = get_cluster_labels(class_medians) == label
    order = np.argsort(float_column(class_medians, "wave_rest")[rows])
    return float_column(class_medians, "flux_p50")[rows][order]


def has_redshifts(z: Floats) -> bool:
    """Return whether any redshift is known and different from 0, the value of stars.

    Parameters
    ----------
    z : ndarray
        Redshifts; NaN if unknown.
    """
    return bool(np.any(np.isfinite(z) & (z != 0)))


def is_number(value: float | None) -> TypeGuard[float]:
    """Return whether a value is known: neither None nor NaN nor infinite.

    Parameters
    ----------
    value : float or None
        The value.
    """
    return value is not None and bool(np.isfinite(value))


def format_number(value: float | None, digits: int = 3) -> str:
    """Format a number: integers in full, others with some significant digits, and a dash for none.

    Parameters
    ----------
    value : float or None
        Number to format.
    digits : int
        Number of significant digits.

    Examples
    --------
    >>> format_number(12345), format_number(12345.6), format_number(0.42), format_number(-12.0)
    ('12,345', '12,346', '0.420', '−12.0')
    >>> format_number(float("nan"))
    '–'
    """
    if not is_number(value):
        return "–"
    is_integer = isinstance(value, int | np.integer)
    in_full = is_integer or 10 ** (digits - 1) <= abs(value) < 1e9
    text = f"{value:,.0f}" if in_full else f"{value:#.{digits}g}"
    return text.replace("-", "−")


def format_fixed(value: float | None, digits: int = 2) -> str:
    """Format a number with a fixed number of decimals, so that a column is read at a glance.

    Parameters
    ----------
    value : float or None
        Number to format; None or NaN gives a dash.
    digits : int
        Number of decimals.

    Examples
    --------
    >>> format_fixed(0.4567), format_fixed(-3.04, 1), format_fixed(1234.5, 1), format_fixed(None)
    ('0.46', '−3.0', '1,234.5', '–')
    >>> format_fixed(-0.004)
    '0.00'
    """
    if not is_number(value):
        return "–"
    return f"{value:z,.{digits}f}".replace("-", "−")


def format_with_error(value: float | None, error: float | None) -> str:
    """Format a measurement with as many decimals as two digits of its error have.

    Parameters
    ----------
    value, error : float or None
        Measurement and its 1 sigma error.

    Examples
    --------
    >>> format_with_error(123.456, 2.345), format_with_error(-2.04567, 0.0123), format_with_error(812.3, 45.6)
    ('123.5 ± 2.3', '−2.046 ± 0.012', '812 ± 46')
    >>> format_with_error(3.14159, None), format_with_error(None, None)
    ('3.14', '–')
    """
    if not is_number(value) or not is_number(error) or error <= 0:
        return format_number(value)
    digits = int(np.clip(1 - np.floor(np.log10(error)), 0, 4))
    return f"{format_fixed(value, digits)} ± {format_fixed(error, digits)}"


def format_property(name: str) -> str:
    """Return the words for a column that classes or observations are compared by.

    Parameters
    ----------
    name : str
        Name of the column.

    Examples
    --------
    >>> format_property("n_valid"), format_property("truth_class"), format_property("spectral_type")
    ('coverage', 'true class', 'spectral type')
    """
    return PROPERTY_NAMES.get(name, name.replace("_", " "))


def format_percent(fraction: float | None) -> str:
    """Format a fraction as a percentage.

    Parameters
    ----------
    fraction : float or None
        The fraction; None or NaN gives a dash.

    Examples
    --------
    >>> format_percent(0.1234), format_percent(None)
    ('12.3 %', '–')
    """
    return f"{100 * fraction:.1f} %" if is_number(fraction) else "–"


def build_summary(data: ReportData) -> list[SummaryItem]:
    """Build the numbers at the top of the page.

    Parameters
    ----------
    data : ReportData
        Data of the report.
    """
    used, quarantined = data.objects.num_rows, data.quarantine.num_rows
    n_classes = int((get_cluster_labels(data.classes) >= 0).sum())
    n_noise = int((get_cluster_labels(data.objects) < 0).sum())
    total = used + quarantined
    error, chi2 = (
        (
            format_number(_median(float_column(data.objects, name))),
            _format_median_by_split(data.objects, name),
        )
        for name in ("recon_mse", "recon_chi2_red")
    )
    return [
        SummaryItem(format_number(total), "spectra listed"),
        SummaryItem(format_number(used), "used", format_percent(used / total) if total else ""),
        SummaryItem(format_number(quarantined), "quarantined", _format_top_reasons(data.quarantine)),
        SummaryItem(
            format_number(n_classes),
            "groups" if data.run.clustering.has_classes is False else "classes",
            f"{format_number(n_noise)} spectra are noise" if n_noise else "",
        ),
        *_summarize_selection(data.run.clustering, data.sweep),
        SummaryItem(error[0], "median error", f"of the reconstruction; {error[1]}".rstrip("; ")),
        SummaryItem(chi2[0], "median χ² per pixel", chi2[1]),
    ]


def _summarize_selection(selection: SelectionRecord, sweep: pa.Table) -> list[SummaryItem]:
    """Return silhouette and stability of the selected clustering, beside those of null data."""
    chosen = [row for row in sweep.to_pylist() if row["selected"]]
    silhouette = chosen[0]["silhouette"] if chosen else None
    means = selection.null_means
    nulls = {name: f"null data: {format_fixed(mean, 2)}" for name, mean in means.items()}
    reruns = selection.rerun_agreement
    rerun_text = "" if reruns is None else f"classes of reruns: {reruns:.2f}"
    algorithm = f"{chosen[0]['algorithm']}, k = {format_number(chosen[0]['k'])}" if chosen else ""
    return [
        SummaryItem(
            format_fixed(silhouette, 2),
            "silhouette",
            "; ".join(filter(None, (nulls.get("silhouette"), algorithm))),
        ),
        SummaryItem(
            format_fixed(selection.stability, 2),
            "stability (ARI)",
            "; ".join(filter(None, (rerun_text, nulls.get("stability")))),
        ),
    ]


def _median(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")


def _format_median_by_split(objects: pa.Table, name: str) -> str:
    """Return the median of a column for each split as text."""
    split = np.array(objects["split"].to_pylist(), dtype=object)
    values = float_column(objects, name)
    names = sorted({str(one) for one in split if one is not None})
    return " · ".join(f"{one} {format_number(_median(values[split == one]))}" for one in names)


def count_reasons(quarantine: pa.Table) -> list[tuple[str, int]]:
    """Count the spectra in quarantine by reason, most frequent first.

    Parameters
    ----------
    quarantine : pyarrow.Table
        Spectra in quarantine, with the column ``reason``.

    Returns
    -------
    list of (str, int)
        Reason and number of spectra.
    """
    return Counter(str(reason) for reason in quarantine["reason"].to_pylist()).most_common()


def _format_top_reasons(quarantine: pa.Table) -> str:
    return " · ".join(f"{reason} {format_number(n)}" for reason, n in count_reasons(quarantine)[:3])


def find_most_similar_classes(confusion: pa.Table) -> dict[int, SimilarClass]:
    """Find for each class the class with the highest mean probability among its members.

    Parameters
    ----------
    confusion : Table
        Published table ``confusion``.

    Examples
    --------
    >>> table = pa.table({"cluster_label": [0, 0], "other_label": [1, 2], "share": [0.1, 0.2]})
    >>> find_most_similar_classes(table)
    {0: SimilarClass(label=2, probability=0.2)}
    """
    rows = sorted(confusion.to_pylist(), key=lambda row: row["share"])
    return {row["cluster_label"]: SimilarClass(row["other_label"], row["share"]) for row in rows}


def tabulate_class_measurements(
    classes: Sequence[Mapping[str, Any]], columns: Sequence[Column]
) -> list[MeasurementRow]:
    """Tabulate measurements of the median spectra, without measurements that no class covers.

    Parameters
    ----------
    classes : sequence of mapping
        Rows of the table ``classes``.
    columns : sequence of Column
        Measurements; those with an error are tabulated.
    """
    names = {column.name for column in columns}
    rows = [
        MeasurementRow(
            column,
            tuple(row[column.name] for row in classes),
            tuple(row[f"{column.name}_err"] for row in classes),
        )
        for column in columns
        if f"{column.name}_err" in names
    ]
    return [row for row in rows if any(value is not None for value in row.values)]


@dataclass(frozen=True)
class PropertySummary:
    """Groups of spectra by one property of the observation.

    Attributes
    ----------
    name : str
        Column of ``objects``.
    n_groups, n_spectra : int
        Number of groups, and of spectra in them.
    n_unusual : int
        Number of groups with more anomalies or bad pixels than chance gives any group with a probability of
        `MAX_P_VALUE`.
    """

    name: str
    n_groups: int
    n_spectra: int
    n_unusual: int


def summarize_groups(groups: pa.Table) -> list[PropertySummary]:
    """Summarize the table ``observation_groups`` by property.

    Parameters
    ----------
    groups : pyarrow.Table
        Published table ``observation_groups``.
    """
    rows = groups.to_pylist()
    names = dict.fromkeys(row["property"] for row in rows)
    by_name = {name: [row for row in rows if row["property"] == name] for name in names}
    return [
        PropertySummary(
            name,
            len(own),
            sum(row["n_spectra"] for row in own),
            sum(_lowest_p(row) <= MAX_P_VALUE for row in own),
        )
        for name, own in by_name.items()
    ]


def select_unusual_groups(groups: pa.Table, n: int) -> list[dict[str, Any]]:
    """Return the groups of the table ``observation_groups`` that chance explains least, lowest p-value first.

    Parameters
    ----------
    groups : pyarrow.Table
        Published table ``observation_groups``.
    n : int
        Largest number of groups.
    """
    return sorted(groups.to_pylist(), key=_lowest_p)[:n]


def _lowest_p(row: Mapping[str, Any]) -> float:
    return min(row["anomalous_p_value"], row["bad_pixels_p_value"])


def select_top_rows(table: pa.Table, name: str, n: int) -> list[dict[str, Any]]:
    """Return the rows with the largest finite values of a column, largest first.

    Parameters
    ----------
    table : Table
        Any table.
    name : str
        Column to sort by.
    n : int
        Largest number of rows.
    """
    values = float_column(table, name)
    order = np.argsort(-values, kind="stable")
    rows: list[dict[str, Any]] = table.take(pa.array(order[np.isfinite(values[order])][:n])).to_pylist()
    return rows
