"""How much memory tasks and actors are given, from the data's size; pure.

Ray puts no more on a node than its memory holds by what is declared here: what a process needs to be there at
all, and what it holds of the data at its worst moment. Arrays are counted that stand at the same time;
`make bench BENCH=memory` holds every formula against measured peaks at two sizes.
"""

from __future__ import annotations

MB = 1e6
WORKER = 400 * MB
"""Python, Arrow, astropy and the store: what reads, preprocesses and writes."""
TORCH = 600 * MB
"""That, torch and compiled functions: what embeds, labels and judges."""
COMPILING = 900 * MB
"""That, and the compiler at work on all measures: what compares models."""
MEASURING = 700 * MB
"""Likewise what measures reconstructions, beside what it decodes, …"""
DECODED, DECODED_ARRAYS = 4096, 12.0
"""… spectra at a time (`distspec.measurements.features.BATCH`), in so many arrays."""
HELD = 6.0
"""A task holds its files' bytes about so many times: as read, as spectra, on the grid, as sent."""
SPAN_ARRAYS = 16.0
"""Arrays (rows × pixels, 4 bytes) of a span: flux, ivar, what is masked, smoothed and made of them."""
PREPARED = 16_384
"""Training spectra (`distspec.training.setup.PREPARED_ON`) that scales are taken from before the first step, …"""
PREPARED_ARRAYS = 24.0
"""… in so many arrays at a time."""
SPECTRUM = 8.0
"""Bytes a pixel of flux and ivar."""
ROW = 700.0
"""Bytes a row of the store, of whoever asks which rows stand and of which sources they are."""


def loading(batch_bytes: float) -> float:
    """Return what a task needs that reads so many bytes of an archive's files [bytes].

    Examples
    --------
    >>> loading(24e6) / 1e6
    544.0
    """
    return WORKER + HELD * batch_bytes


def span(rows: int, n_pixels: int) -> float:
    """Return what embedding or judging a span of spectra needs [bytes]."""
    return TORCH + SPAN_ARRAYS * 4.0 * rows * n_pixels


def measuring(n_pixels: int) -> float:
    """Return what measuring a model's reconstructions needs, some at a time of however many [bytes]."""
    return MEASURING + DECODED_ARRAYS * 4.0 * DECODED * n_pixels


def labelling(rows: int, n_repeats: int, k: int, sample: int, dims: int) -> float:
    """Return what labelling a span of latents needs [bytes].

    Parameters
    ----------
    rows : int
        Of the span: every repeat's memberships of them stand until all are there.
    n_repeats, k : int
        Clusterings that label, and their clusters at most.
    sample, dims : int
        Points that those were fitted to: they and their neighbours travel along.
    """
    return TORCH + rows * (n_repeats * k * 8.0 * 2.0 + dims * 8.0 * 4.0) + sample * (dims * 24.0 + 1_500.0)


def held_rows(n: int, n_pixels: int, cache_mb: float) -> int:
    """Return how many of `n` spectra a training worker holds: all that fit, or none."""
    return n if n * SPECTRUM * n_pixels <= cache_mb * MB else 0


def training(
    n_rows: int,
    n_train: int,
    n_held_out: int,
    n_pixels: int,
    cache_mb: float,
    window: int,
    prefetch: int,
) -> float:
    """Return what a training worker needs [bytes], on the host if it has a GPU.

    Parameters
    ----------
    n_rows : int
        Of the store: it asks who they are.
    n_train, n_held_out : int
        Spectra trained on, and this worker's share of those held out.
    n_pixels : int
    cache_mb : float
        What fits is held whole [MB]; of more, windows: the one in use, those ahead, and one being read.
    window : int
        Spectra of a window.
    prefetch : int
        Windows read ahead.
    """
    a_spectrum = SPECTRUM * n_pixels
    train = held_rows(n_train, n_pixels, cache_mb)
    validation = held_rows(n_held_out, n_pixels, cache_mb - train * a_spectrum / MB)
    streams = (train < n_train) + (validation < n_held_out)
    most = min(window, max(n_train, n_held_out))
    held = train + validation + streams * (prefetch + 2) * most
    moment = max(PREPARED_ARRAYS / 2.0 * min(PREPARED, n_train), max(train, validation, most))
    return TORCH + ROW * n_rows + a_spectrum * (held + moment)


def evaluating(n_rows: int, rows: int, n_pixels: int) -> float:
    """Return what comparing a model on some of a store's rows needs [bytes]."""
    return COMPILING + ROW * n_rows + SPAN_ARRAYS * 4.0 * rows * n_pixels
