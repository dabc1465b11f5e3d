"""The report of a run: one HTML page that needs no network, and its figures as PNG and PDF files."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from distspec.core.arrow import pc
from distspec.core.colors import class_color
from distspec.io.files import write_bytes
from distspec.io.paths import join_url
from distspec.report.data import ReportData
from distspec.report.figures.draw import draw_figures
from distspec.report.figures.output import render_figure
from distspec.report.figures.runs import lowest_epoch
from distspec.report.redshifts import count_statuses
from distspec.report.tables import (
    build_summary,
    count_reasons,
    find_most_similar_classes,
    float_column,
    format_fixed,
    format_number,
    format_percent,
    format_property,
    format_with_error,
    has_redshifts,
    is_number,
    select_top_rows,
    select_unusual_groups,
    summarize_groups,
    tabulate_class_measurements,
)

MAX_QUARANTINE_ROWS = 50
MAX_BAD_PIXEL_ROWS = 10
MAX_REDSHIFT_ROWS = 20
MAX_CHANGE_ROWS = 20
MAX_CONFUSION_ROWS = 12
MAX_LATENT_PAIR_ROWS = 8
MAX_GROUP_ROWS = 12
N_ANOMALY_ROWS = 10
"""Number of rows of the table of anomalies if no anomaly is drawn."""


def make_environment() -> Environment:
    """Return the environment of the pages' templates, with the filters that format numbers.

    Returns
    -------
    jinja2.Environment
        Text is escaped, and undefined names are errors.
    """
    environment = Environment(
        loader=PackageLoader("distspec.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "number": format_number,
        "fixed": format_fixed,
        "with_error": format_with_error,
        "percent": format_percent,
        "property": format_property,
        "color": class_color,
        "code": format_code,
    }
    environment.filters.update(filters)
    return environment


def format_code(text: str) -> Markup:
    """Return a text as HTML, in which what stands between backticks is code; its lines break at spaces only.

    Parameters
    ----------
    text : str
        Plain text.

    Returns
    -------
    markupsafe.Markup

    Examples
    --------
    >>> format_code("a < b: `--model prism`")
    Markup('a &lt; b: <code><span>--model</span> <span>prism</span></code>')
    """
    parts = [escape(part) for part in text.split("`")]
    for i in range(1, len(parts), 2):
        words = (Markup("<span>{}</span>").format(word) for word in parts[i].split())
        parts[i] = Markup("<code>{}</code>").format(Markup(" ").join(words))
    return Markup("").join(parts)


def render_html(data: ReportData, images: Mapping[str, bytes]) -> str:
    """Render the report page with embedded figures.

    Parameters
    ----------
    data : ReportData
        Data of the report.
    images : mapping of str to bytes
        WebP images of the figures, by name.

    Returns
    -------
    str
        HTML document.
    """
    classes: list[dict[str, Any]] = data.classes.sort_by("cluster_label").to_pylist()
    classes.sort(key=lambda row: row["cluster_label"] < 0)
    return (
        make_environment()
        .get_template("report.html.j2")
        .render(
            run=data.run,
            stages=data.stages,
            summary=build_summary(data),
            n_classes=sum(row["cluster_label"] >= 0 for row in classes),
            lowest_epoch=lowest_epoch(data.history),
            best_epoch=data.best_epoch,
            too_few=data.too_few,
            has_spectra=data.objects.num_rows > 0,
            space=data.space,
            map_columns=data.map_columns,
            edition=data.edition,
            root=data.root,
            documentation_url=data.documentation_url,
            images={name: base64.b64encode(image).decode() for name, image in images.items()},
            has_redshifts=has_redshifts(float_column(data.objects, "z")),
            classes=classes,
            typed_classes=[row for row in classes if is_number(row["galaxy_type_confidence"])],
            similar_classes=find_most_similar_classes(data.confusion),
            class_measurements=tabulate_class_measurements(classes, data.measurement_columns),
            changes=data.changes.slice(0, MAX_CHANGE_ROWS).to_pylist(),
            n_changes=data.changes.num_rows,
            anomalies=data.anomalies.slice(
                0, len(data.anomaly_examples.object_ids) or N_ANOMALY_ROWS
            ).to_pylist(),
            redshift_statuses=count_statuses(data.redshifts),
            doubtful_redshifts=data.redshifts.filter(pc.equal(data.redshifts["status"], "doubtful"))
            .slice(0, MAX_REDSHIFT_ROWS)
            .to_pylist(),
            bad_pixels=data.bad_pixels.slice(0, MAX_BAD_PIXEL_ROWS).to_pylist(),
            confused_classes=select_top_rows(data.confusion, "share", MAX_CONFUSION_ROWS),
            similar_latents=select_top_rows(data.latent_pairs, "alignment", MAX_LATENT_PAIR_ROWS),
            leakage=data.leakage.to_pylist(),
            properties=summarize_groups(data.observation_groups),
            groups=select_unusual_groups(data.observation_groups, MAX_GROUP_ROWS),
            reasons=count_reasons(data.quarantine),
            n_quarantined=data.quarantine.num_rows,
            quarantine=data.quarantine.slice(0, MAX_QUARANTINE_ROWS).to_pylist(),
            scores=data.truth_scores,
            discovery_curve=data.discovery_curve,
            config=json.dumps(data.run.config, indent=2, ensure_ascii=False, default=str),
            query=data.example_query,
        )
    )


def write_report(data: ReportData, url: str) -> str:
    """Draw the figures and write them and the page.

    Parameters
    ----------
    data : ReportData
        Data of the report.
    url : str
        Folder or prefix in a bucket; it is created if needed.

    Returns
    -------
    str
        URL of the page, ``{url}/index.html``. The page is written after the figures.
    """
    files = {name: render_figure(figure, data.origin) for name, figure in draw_figures(data).items()}
    page = render_html(data, {name: figure.webp for name, figure in files.items()})
    for name, figure in files.items():
        write_bytes(join_url(url, f"{name}.png"), figure.png)
        write_bytes(join_url(url, f"{name}.pdf"), figure.pdf)
    write_bytes(join_url(url, "index.html"), page.encode())
    return join_url(url, "index.html")
