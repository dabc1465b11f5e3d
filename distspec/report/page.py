"""The page a run ends with: one HTML file that needs no network, its figures beside it as PNG."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from numpy.typing import NDArray

from distspec.anomaly.feedback import DiscoveryCurve
from distspec.core.schema import Column
from distspec.core.spectrum import Floats
from distspec.io.files import write_bytes
from distspec.io.paths import join_url
from distspec.report import figures
from distspec.report.figures.spectra import ExampleSpectra
from distspec.report.figures.style import float_column

__all__ = ["ExampleSpectra", "ReportData", "write_report"]
MAX_QUARANTINE_ROWS = 50
MAX_BAD_PIXEL_ROWS = 10
MAX_CHANGE_ROWS = 20
MAX_CONFUSION_ROWS = 12
MAX_LATENT_PAIR_ROWS = 8


@dataclass(frozen=True)
class ReportData:
    """Everything the page shows.

    Attributes
    ----------
    run_record : mapping
        What run.json holds: ``run_id``, ``model_id``, ``snapshot_id``, ``recipe``, ``created``
        (ISO), ``adaptations`` (list of sentences), ``config`` (nested), ``versions`` (name to
        version), ``stages`` (list of ``{stage, seconds, counts}``) and, optional, ``best_epoch``,
        whose weights were kept: without it the lowest validation reconstruction loss is marked.
    wave_rest : (L,) [Å, rest frame]
    objects : Table
        One row a spectrum used: object_id, z, umap_0, umap_1, recon_mse, recon_chi2_red,
        cluster_label; split, optional.
    classes : Table
        cluster_label, n_spectra, n_sources, share, z_p16, z_p50, z_p84, snr_p50, recon_mse_p50,
        stability_p50, core_share, galaxy_type, galaxy_type_confidence, galaxy_type_reason and `measurement_columns` of their median spectra;
        class_id and class_name, optional.
    class_medians : Table
        Long: cluster_label, wave_rest, flux_p16, flux_p50, flux_p84; NaN where too few spectra.
    changes : Table
        What became of the last run's classes: class_id, previous_class_id, change, n_spectra, reason; the
        largest first.
    anomalies : Table
        anomaly_rank, object_id, z, snr, anomaly_score, cluster_label, reason; sorted by rank.
    bad_pixels : Table
        The spectra that artefacts spoil, the worst first: object_id, snr, artefact_score, reason.
    quarantine : Table
        One row a spectrum that could not be used: object_id, uri, reason, seen.
    sweep : Table
        trial, space, algorithm, k, seed, silhouette, bic, seconds, chosen (bool).
    null_trials : Table
        space, k, silhouette: of trials on structureless data.
    confusion : Table
        A row a pair of classes that trade members: cluster_label, other_label, share, n_ambiguous, examples.
    latent_pairs : Table
        A row a pair of latents: latent, other_latent, mutual_information, alignment.
    history : Table
        epoch, train_recon, train_kl, val_recon, val_kl, lr.
    quartile_examples : Examples
        One of each quartile of reconstruction error, lowest first; ``caption`` names quartile and
        error.
    class_examples : Examples
        A few of each class; ``caption`` is redshift, S/N and kind.
    class_example_labels : (n,)
        Their classes.
    measurement_columns : sequence of Column
        What is measured of spectra: values, and their errors as ``<name>_err``.
    anomaly_examples : Examples
        The top-ranked, first rank first; ``caption`` is score and reason in words.
    truth_scores : mapping or None
        Against known truth, each beside what chance gives::

            {"labels": [{"measure": "ARI", "value": 0.21, "null_p50": 0.0, "null_p95": 0.01}],
             "oddities": [{"selected": "top 1 %", "recall": 0.4, "null": 0.01, "n_oddities": 20}],
             "by_type": [{"type": "AGN", "n": 12, "recall": {"top 1 %": 0.5, "top 5 %": 0.8}}],
             "note": "Truth: the simulator's own classes."}

        Every key may be missing; each row of ``oddities`` may add ``null_p95`` (a fraction) and
        ``artefacts`` (how many were selected). ``null`` of a recall is the share that was
        selected, what a blind selection finds. None where no truth is known.
    lines : mapping of str to float
        Features to name: rest wavelength [Å].
    norm_wave : float [Å, rest frame]
        Where fluxes were normalised.
    example_query : str
        A DuckDB line that reads the catalogue.
    feedback_progress : Progress or None
        How many interesting spectra people found, mark by mark; None where nobody marked any.
    """

    run_record: Mapping[str, Any]
    wave_rest: Floats
    objects: pa.Table
    classes: pa.Table
    class_medians: pa.Table
    changes: pa.Table
    anomalies: pa.Table
    bad_pixels: pa.Table
    quarantine: pa.Table
    sweep: pa.Table
    null_trials: pa.Table
    confusion: pa.Table
    latent_pairs: pa.Table
    history: pa.Table
    quartile_examples: ExampleSpectra
    class_examples: ExampleSpectra
    class_example_labels: NDArray[np.int64]
    measurement_columns: Sequence[Column]
    anomaly_examples: ExampleSpectra
    truth_scores: Mapping[str, Any] | None
    lines: Mapping[str, float]
    norm_wave: float
    example_query: str
    feedback_progress: DiscoveryCurve | None = None


@dataclass(frozen=True)
class SummaryItem:
    """One number at the top of the page, what it counts, and a line of small print."""

    value: str
    label: str
    note: str = ""


def format_number(value: float | None, digits: int = 3) -> str:
    """Write a number for people: counts whole, else ``digits`` significant ones; a dash for none.

    Examples
    --------
    >>> number(12345), number(12345.6), number(0.42), number(-12.0), number(float("nan"))
    ('12,345', '12,346', '0.420', '−12.0', '–')
    """
    if value is None or not np.isfinite(value):
        return "–"
    counted = isinstance(value, int | np.integer)
    whole = counted or 10 ** (digits - 1) <= abs(value) < 1e9
    text = f"{value:,.0f}" if whole else f"{value:#.{digits}g}"
    return text.replace("-", "−")


def format_percent(fraction: float | None) -> str:
    """Write a fraction as a percentage.

    Examples
    --------
    >>> share(0.1234), share(None)
    ('12.3 %', '–')
    """
    return "–" if fraction is None or not np.isfinite(fraction) else f"{100 * fraction:.1f} %"


def _median(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")


def _format_median_by_split(objects: pa.Table, name: str) -> str:
    """Return the median of a column on each side of the split, in words."""
    if "split" not in objects.column_names:
        return ""
    split = np.array(objects["split"].to_pylist(), dtype=object)
    values = float_column(objects, name)
    sides = sorted({str(side) for side in split if side is not None})
    return " · ".join(f"{side} {format_number(_median(values[split == side]))}" for side in sides)


def build_summary(data: ReportData) -> list[SummaryItem]:
    """Return the numbers that the page opens with."""
    used, bad = data.objects.num_rows, data.quarantine.num_rows
    labels = figures.get_cluster_labels(data.classes)
    noise = int((figures.get_cluster_labels(data.objects) < 0).sum())
    left = f"{format_number(noise)} spectra in none" if noise else ""
    silhouette = float_column(data.sweep, "silhouette")
    finite = silhouette[np.isfinite(silhouette)]
    best = float(finite.max()) if finite.size else float("nan")
    chosen = [row for row in data.sweep.to_pylist() if row["chosen"]]
    choice = " · ".join(
        f"chosen {row['algorithm']}, k = {format_number(row['k'])}: {format_number(row['silhouette'])}"
        for row in chosen
    )
    error, chi2 = (
        (
            format_number(_median(float_column(data.objects, name))),
            _format_median_by_split(data.objects, name),
        )
        for name in ("recon_mse", "recon_chi2_red")
    )
    return [
        SummaryItem(format_number(used + bad), "spectra in"),
        SummaryItem(format_number(used), "used", format_percent(used / (used + bad)) if used + bad else ""),
        SummaryItem(format_number(bad), "quarantined", _format_top_reasons(data.quarantine)),
        SummaryItem(format_number((labels >= 0).sum()), "classes", left),
        SummaryItem(format_number(best), "best silhouette", choice),
        SummaryItem(error[0], "median error", f"of reconstruction; {error[1]}".rstrip("; ")),
        SummaryItem(chi2[0], "median χ² per pixel", chi2[1]),
    ]


def count_reasons(quarantine: pa.Table) -> list[tuple[str, int]]:
    """Count the quarantine by reason, most frequent first."""
    return Counter(str(reason) for reason in quarantine["reason"].to_pylist()).most_common()


def _format_top_reasons(quarantine: pa.Table) -> str:
    return " · ".join(f"{reason} {format_number(n)}" for reason, n in count_reasons(quarantine)[:3])


def draw_figures(data: ReportData) -> dict[str, Figure]:
    """Draw every figure, by the name of its PNG file."""
    objects = data.objects
    umap = np.stack([float_column(objects, "umap_0"), float_column(objects, "umap_1")], axis=1)
    best = data.run_record.get("best_epoch")
    marks = (
        {}
        if data.feedback_progress is None
        else {"marks": figures.plot_feedback_progress(data.feedback_progress)}
    )
    return marks | {
        "reconstructions": figures.plot_reconstructions(
            data.wave_rest, data.quartile_examples, data.norm_wave
        ),
        "classes": figures.plot_class_medians(data.class_medians, objects, data.lines, data.norm_wave),
        "members": figures.plot_class_examples(
            data.wave_rest, data.class_examples, data.class_example_labels, data.lines, data.norm_wave
        ),
        "map": figures.plot_umap(
            umap,
            figures.get_cluster_labels(objects),
            float_column(objects, "z"),
            float_column(objects, "recon_mse"),
        ),
        "oddest": figures.plot_anomalies(data.wave_rest, data.anomaly_examples, data.lines, data.norm_wave),
        "sweep": figures.plot_sweep_scores(data.sweep, data.null_trials),
        "training": figures.plot_training_curves(
            data.history, figures.find_best_epoch(data.history) if best is None else float(best)
        ),
    }


def render_html(data: ReportData, pngs: Mapping[str, bytes]) -> str:
    """Return the page, every figure inside it.

    Parameters
    ----------
    data : ReportData
    pngs : mapping of str to bytes
        The figures of `draw`, rendered.
    """
    classes: list[dict[str, Any]] = data.classes.sort_by("cluster_label").to_pylist()
    classes.sort(key=_is_noise)
    pages = Environment(
        loader=PackageLoader("distspec.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(number=format_number, share=format_percent, colour=figures.class_color)
    return pages.get_template("report.html.j2").render(
        run=data.run_record,
        headlines=build_summary(data),
        images={name: base64.b64encode(png).decode() for name, png in pngs.items()},
        has_redshifts=figures.has_redshifts(float_column(data.objects, "z")),
        classes=classes,
        most_like=find_most_confused(data.confusion),
        class_measures=tabulate_class_measurements(classes, data.measurement_columns),
        changes=data.changes.slice(0, MAX_CHANGE_ROWS).to_pylist(),
        n_changes=data.changes.num_rows,
        anomalies=data.anomalies.slice(0, len(data.anomaly_examples.object_ids) or 10).to_pylist(),
        spoilt=data.bad_pixels.slice(0, MAX_BAD_PIXEL_ROWS).to_pylist(),
        torn=_top_rows(data.confusion, "share", MAX_CONFUSION_ROWS),
        degenerate=_top_rows(data.latent_pairs, "alignment", MAX_LATENT_PAIR_ROWS),
        reasons=count_reasons(data.quarantine),
        n_quarantined=data.quarantine.num_rows,
        quarantine=data.quarantine.slice(0, MAX_QUARANTINE_ROWS).to_pylist(),
        scores=data.truth_scores,
        marks=data.feedback_progress,
        config=json.dumps(data.run_record.get("config", {}), indent=2, ensure_ascii=False, default=str),
        query=data.example_query,
    )


def find_most_confused(confusion: pa.Table) -> dict[int, tuple[int, float]]:
    """Return of each class the one that its members are most likely of instead, and how likely in the mean.

    Examples
    --------
    >>> most_like(pa.table({"cluster_label": [0, 0], "other_label": [1, 2], "share": [0.1, 0.2]}))
    {0: (2, 0.2)}
    """
    rows = sorted(confusion.to_pylist(), key=lambda row: row["share"])
    return {row["cluster_label"]: (row["other_label"], row["share"]) for row in rows}


def tabulate_class_measurements(
    classes: Sequence[Mapping[str, Any]], measurement_columns: Sequence[Column]
) -> list[tuple[Column, list[tuple[float | None, float | None]]]]:
    """Return each measure with its value and error in every class; one that none covers is left out."""
    names = {column.name for column in measurement_columns}
    values = [column for column in measurement_columns if f"{column.name}_err" in names]
    rows = [(each, [(row[each.name], row[f"{each.name}_err"]) for row in classes]) for each in values]
    return [(each, cells) for each, cells in rows if any(value is not None for value, _ in cells)]


def _top_rows(table: pa.Table, name: str, n: int) -> list[dict[str, Any]]:
    """Return the rows with the largest finite values of a column, largest first."""
    values = float_column(table, name)
    order = np.argsort(-values, kind="stable")
    rows: list[dict[str, Any]] = table.take(pa.array(order[np.isfinite(values[order])][:n])).to_pylist()
    return rows


def _is_noise(row: Mapping[str, Any]) -> bool:
    return row["cluster_label"] < 0


def write_report(data: ReportData, url: str) -> str:
    """Write the page and its figures.

    Parameters
    ----------
    data : ReportData
    url : str
        A folder or a bucket's prefix; made if missing.

    Returns
    -------
    str
        The page's URL, ``{url}/index.html``. It is written last: where it is, the figures are.
    """
    pngs = {name: figures.to_png(figure) for name, figure in draw_figures(data).items()}
    page = render_html(data, pngs)
    for name, png in pngs.items():
        write_bytes(join_url(url, f"{name}.png"), png)
    write_bytes(join_url(url, "index.html"), page.encode())
    return join_url(url, "index.html")
