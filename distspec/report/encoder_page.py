"""The page that compares encoders, with its figure and tables."""

from __future__ import annotations

import base64
from importlib.metadata import version
from typing import Any

from distspec.catalog.output_formats import save_table
from distspec.io.files import write_bytes
from distspec.io.paths import join_url, run_url
from distspec.report.encoder_scores import EncoderComparison
from distspec.report.figures.encoders import plot_skill
from distspec.report.figures.output import render_figure
from distspec.report.page import make_environment

TEMPLATE = "encoders.html.j2"


def write_encoder_page(comparison: EncoderComparison, root: str) -> str:
    """Write the page, its figure (PNG, PDF), ``scores.csv`` and ``agreement.csv``.

    Parameters
    ----------
    comparison : EncoderComparison
        What the page shows.
    root : str
        Root URL.

    Returns
    -------
    str
        URL of the page, ``{root}/runs/{run}/encoders/index.html``; an earlier one is replaced.
    """
    url = join_url(run_url(root, comparison.run_id), "encoders")
    scores: list[dict[str, Any]] = comparison.scores.to_pylist()
    properties = list(dict.fromkeys(row["property"] for row in scores))
    for row in scores:
        row["order"] = properties.index(row["property"])
    origin = f"distspec {version('distspec')}, run {comparison.run_id}, edition {comparison.edition}"
    files = render_figure(plot_skill(scores), origin)
    page = (
        make_environment()
        .get_template(TEMPLATE)
        .render(
            comparison=comparison,
            scores=scores,
            agreement=comparison.agreement.to_pylist(),
            images={"skill": base64.b64encode(files.webp).decode()},
        )
    )
    write_bytes(join_url(url, "skill.png"), files.png)
    write_bytes(join_url(url, "skill.pdf"), files.pdf)
    save_table(comparison.scores, join_url(url, "scores.csv"))
    save_table(comparison.agreement, join_url(url, "agreement.csv"))
    write_bytes(join_url(url, "index.html"), page.encode())
    return join_url(url, "index.html")
