"""Files of a figure: PNG and PDF for papers, WebP for the page, all with the run and edition."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from distspec.core.colors import MUTED_COLOR
from distspec.report.figures.style import report_style, set_layout

PAGE_SCALE = 2 / 3
"""Size of the page's images as a fraction of the PNG files: 1440 pixels for the width of two columns."""
STAMP_WIDTH = 0.12
"""Width of the margin at the right that holds the origin of a figure [inch]."""


@dataclass(frozen=True)
class FigureFiles:
    """A figure as files.

    Attributes
    ----------
    png : bytes
        Image with the resolution of the figure, 300 pixels per inch.
    pdf : bytes
        Vector graphics.
    webp : bytes
        Smaller image for the page.
    """

    png: bytes
    pdf: bytes
    webp: bytes


def stamp_figure(figure: Figure, origin: str) -> None:
    """Write the origin of a figure at its right edge, in a margin that is reserved for it.

    Parameters
    ----------
    figure : Figure
        Figure with a constrained layout.
    origin : str
        Version, run and edition.
    """
    margin = STAMP_WIDTH / figure.get_figwidth()
    set_layout(figure, rect=(0.0, 0.0, 1.0 - margin, 1.0))
    figure.text(
        *(1.0 - 0.35 * margin, 0.5, origin), rotation=90, ha="right", va="center",
        size=4, color=MUTED_COLOR, parse_math=False,
    )  # fmt: skip


def render_figure(figure: Figure, origin: str = "") -> FigureFiles:
    """Render a figure as files; equal figures give equal bytes.

    Parameters
    ----------
    figure : Figure
        Figure to render.
    origin : str
        Version, run and edition, which the figure shows and the files hold as metadata.

    Returns
    -------
    FigureFiles
    """
    png, pdf, webp = io.BytesIO(), io.BytesIO(), io.BytesIO()
    with report_style():  # ticks are created, and read their style, when they are drawn
        if origin:
            stamp_figure(figure, origin)
        image = _draw_image(figure)
        figure.set_layout_engine("none")  # the layout is done, and takes as long as drawing
        info = {"Creator": "distspec", "Subject": origin, "CreationDate": None, "Producer": None}
        FigureCanvasPdf(figure).print_pdf(pdf, metadata=info)
    text = PngInfo()
    text.add_text("Source", origin)
    image.save(png, "png", dpi=(figure.dpi, figure.dpi), pnginfo=text)
    size = round(image.width * PAGE_SCALE), round(image.height * PAGE_SCALE)
    image.resize(size, Image.Resampling.LANCZOS).save(webp, "webp", quality=88, method=2)
    return FigureFiles(png.getvalue(), pdf.getvalue(), webp.getvalue())


def to_png(figure: Figure) -> bytes:
    """Render a figure as the bytes of a PNG file.

    Parameters
    ----------
    figure : Figure
        Figure to render.

    Returns
    -------
    bytes
    """
    file = io.BytesIO()
    with report_style():
        image = _draw_image(figure)
    image.save(file, "png", dpi=(figure.dpi, figure.dpi))
    return file.getvalue()


def _draw_image(figure: Figure) -> Image.Image:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
