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

from distspec.anomaly.feedback import Progress
from distspec.core.schema import Column
from distspec.core.spectrum import Floats
from distspec.io.files import put
from distspec.io.paths import join
from distspec.report import figures
from distspec.report.figures.spectra import Examples
from distspec.report.figures.style import column

__all__ = ["Examples", "ReportData", "write_report"]
QUARANTINE_ROWS = 50
SPOILT_ROWS = 10
CHANGE_ROWS = 20
CONFUSION_ROWS = 12
LATENT_ROWS = 8


@dataclass(frozen=True)
class ReportData:
    """Everything the page shows.

    Attributes
    ----------
    run : mapping
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
        stability_p50, core_share, kind, kind_confidence, kind_why and `measures` of their median spectra;
        class_id and class_name, optional.
    class_medians : Table
        Long: cluster_label, wave_rest, flux_p16, flux_p50, flux_p84; NaN where too few spectra.
    changes : Table
        What became of the last run's classes: class_id, previous_class_id, change, n_spectra, why; the
        largest first.
    anomalies : Table
        anomaly_rank, object_id, z, snr, anomaly_score, cluster_label, why; sorted by rank.
    artefacts : Table
        The spectra that artefacts spoil, the worst first: object_id, snr, artefact_score, why.
    quarantine : Table
        One row a spectrum that could not be used: object_id, uri, reason, seen.
    sweep : Table
        trial, space, algorithm, k, seed, silhouette, bic, seconds, chosen (bool).
    nulls : Table
        space, k, silhouette: of trials on structureless data.
    confusion : Table
        A row a pair of classes that trade members: cluster_label, other_label, share, n_torn, examples.
    latents : Table
        A row a pair of latents: latent, other_latent, mutual_information, alignment.
    history : Table
        epoch, train_recon, train_kl, val_recon, val_kl, lr.
    examples : Examples
        One of each quartile of reconstruction error, lowest first; ``caption`` names quartile and
        error.
    members : Examples
        A few of each class; ``caption`` is redshift, S/N and kind.
    member_label : (n,)
        Their classes.
    measures : sequence of Column
        What is measured of spectra: values, and their errors as ``<name>_err``.
    oddest : Examples
        The top-ranked, first rank first; ``caption`` is score and reason in words.
    scores : mapping or None
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
    reference : float [Å, rest frame]
        Where fluxes were normalised.
    query : str
        A DuckDB line that reads the catalogue.
    marks : Progress or None
        How many interesting spectra people found, mark by mark; None where nobody marked any.
    """

    run: Mapping[str, Any]
    wave_rest: Floats
    objects: pa.Table
    classes: pa.Table
    class_medians: pa.Table
    changes: pa.Table
    anomalies: pa.Table
    artefacts: pa.Table
    quarantine: pa.Table
    sweep: pa.Table
    nulls: pa.Table
    confusion: pa.Table
    latents: pa.Table
    history: pa.Table
    examples: Examples
    members: Examples
    member_label: NDArray[np.int64]
    measures: Sequence[Column]
    oddest: Examples
    scores: Mapping[str, Any] | None
    lines: Mapping[str, float]
    reference: float
    query: str
    marks: Progress | None = None


@dataclass(frozen=True)
class Headline:
    """One number at the top of the page, what it counts, and a line of small print."""

    value: str
    name: str
    note: str = ""


def number(value: float | None, digits: int = 3) -> str:
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


def share(part: float | None) -> str:
    """Write a fraction as a percentage.

    Examples
    --------
    >>> share(0.1234), share(None)
    ('12.3 %', '–')
    """
    return "–" if part is None or not np.isfinite(part) else f"{100 * part:.1f} %"


def _median(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")


def _by_split(objects: pa.Table, name: str) -> str:
    """Return the median of a column on each side of the split, in words."""
    if "split" not in objects.column_names:
        return ""
    split = np.array(objects["split"].to_pylist(), dtype=object)
    values = column(objects, name)
    sides = sorted({str(side) for side in split if side is not None})
    return " · ".join(f"{side} {number(_median(values[split == side]))}" for side in sides)


def headlines(data: ReportData) -> list[Headline]:
    """Return the numbers that the page opens with."""
    used, bad = data.objects.num_rows, data.quarantine.num_rows
    labels = figures.labels_of(data.classes)
    noise = int((figures.labels_of(data.objects) < 0).sum())
    left = f"{number(noise)} spectra in none" if noise else ""
    silhouette = column(data.sweep, "silhouette")
    finite = silhouette[np.isfinite(silhouette)]
    best = float(finite.max()) if finite.size else float("nan")
    chosen = [row for row in data.sweep.to_pylist() if row["chosen"]]
    choice = " · ".join(
        f"chosen {row['algorithm']}, k = {number(row['k'])}: {number(row['silhouette'])}" for row in chosen
    )
    error, chi2 = (
        (number(_median(column(data.objects, name))), _by_split(data.objects, name))
        for name in ("recon_mse", "recon_chi2_red")
    )
    return [
        Headline(number(used + bad), "spectra in"),
        Headline(number(used), "used", share(used / (used + bad)) if used + bad else ""),
        Headline(number(bad), "quarantined", _worst_reason(data.quarantine)),
        Headline(number((labels >= 0).sum()), "classes", left),
        Headline(number(best), "best silhouette", choice),
        Headline(error[0], "median error", f"of reconstruction; {error[1]}".rstrip("; ")),
        Headline(chi2[0], "median χ² per pixel", chi2[1]),
    ]


def reasons(quarantine: pa.Table) -> list[tuple[str, int]]:
    """Count the quarantine by reason, most frequent first."""
    return Counter(str(reason) for reason in quarantine["reason"].to_pylist()).most_common()


def _worst_reason(quarantine: pa.Table) -> str:
    return " · ".join(f"{reason} {number(n)}" for reason, n in reasons(quarantine)[:3])


def draw(data: ReportData) -> dict[str, Figure]:
    """Draw every figure, by the name of its PNG file."""
    objects = data.objects
    umap = np.stack([column(objects, "umap_0"), column(objects, "umap_1")], axis=1)
    best = data.run.get("best_epoch")
    marks = {} if data.marks is None else {"marks": figures.found_by_marks(data.marks)}
    return marks | {
        "reconstructions": figures.reconstructions(data.wave_rest, data.examples, data.reference),
        "classes": figures.class_spectra(data.class_medians, objects, data.lines, data.reference),
        "members": figures.class_members(
            data.wave_rest, data.members, data.member_label, data.lines, data.reference
        ),
        "map": figures.latent_map(
            umap, figures.labels_of(objects), column(objects, "z"), column(objects, "recon_mse")
        ),
        "oddest": figures.odd_spectra(data.wave_rest, data.oddest, data.lines, data.reference),
        "sweep": figures.sweep_scores(data.sweep, data.nulls),
        "training": figures.training_curves(
            data.history, figures.best_epoch(data.history) if best is None else float(best)
        ),
    }


def render(data: ReportData, pngs: Mapping[str, bytes]) -> str:
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
    pages.filters.update(number=number, share=share, colour=figures.class_colour)
    return pages.get_template("report.html.j2").render(
        run=data.run,
        headlines=headlines(data),
        images={name: base64.b64encode(png).decode() for name, png in pngs.items()},
        has_redshifts=figures.has_redshifts(column(data.objects, "z")),
        classes=classes,
        most_like=most_like(data.confusion),
        class_measures=class_measures(classes, data.measures),
        changes=data.changes.slice(0, CHANGE_ROWS).to_pylist(),
        n_changes=data.changes.num_rows,
        anomalies=data.anomalies.slice(0, len(data.oddest.object_id) or 10).to_pylist(),
        spoilt=data.artefacts.slice(0, SPOILT_ROWS).to_pylist(),
        torn=_largest(data.confusion, "share", CONFUSION_ROWS),
        degenerate=_largest(data.latents, "alignment", LATENT_ROWS),
        reasons=reasons(data.quarantine),
        n_quarantined=data.quarantine.num_rows,
        quarantine=data.quarantine.slice(0, QUARANTINE_ROWS).to_pylist(),
        scores=data.scores,
        marks=data.marks,
        config=json.dumps(data.run.get("config", {}), indent=2, ensure_ascii=False, default=str),
        query=data.query,
    )


def most_like(confusion: pa.Table) -> dict[int, tuple[int, float]]:
    """Return of each class the one that its members are most likely of instead, and how likely in the mean.

    Examples
    --------
    >>> most_like(pa.table({"cluster_label": [0, 0], "other_label": [1, 2], "share": [0.1, 0.2]}))
    {0: (2, 0.2)}
    """
    rows = sorted(confusion.to_pylist(), key=lambda row: row["share"])
    return {row["cluster_label"]: (row["other_label"], row["share"]) for row in rows}


def class_measures(
    classes: Sequence[Mapping[str, Any]], measures: Sequence[Column]
) -> list[tuple[Column, list[tuple[float | None, float | None]]]]:
    """Return each measure with its value and error in every class; one that none covers is left out."""
    names = {column.name for column in measures}
    values = [column for column in measures if f"{column.name}_err" in names]
    rows = [(each, [(row[each.name], row[f"{each.name}_err"]) for row in classes]) for each in values]
    return [(each, cells) for each, cells in rows if any(value is not None for value, _ in cells)]


def _largest(table: pa.Table, name: str, n: int) -> list[dict[str, Any]]:
    """Return the rows with the largest finite values of a column, largest first."""
    values = column(table, name)
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
    pngs = {name: figures.to_png(figure) for name, figure in draw(data).items()}
    page = render(data, pngs)
    for name, png in pngs.items():
        put(join(url, f"{name}.png"), png)
    put(join(url, "index.html"), page.encode())
    return join(url, "index.html")
