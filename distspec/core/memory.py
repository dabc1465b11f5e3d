"""How much memory tasks and actors are given, from the data's size; pure.

Ray puts no more on a node than its memory holds by what is declared here: what a process needs to be there at
all, and what it holds of the data at its worst moment. Arrays are counted that stand at the same time;
`make bench BENCH=memory` holds every formula against measured peaks at two sizes.
"""

from __future__ import annotations

MB = 1e6
WORKER_BYTES = 400 * MB
"""Python, Arrow, astropy and the store: what reads, preprocesses and writes."""
TORCH_WORKER_BYTES = 600 * MB
"""That, torch and compiled functions: what embeds, labels and judges."""
COMPILING_WORKER_BYTES = 900 * MB
"""That, and the compiler at work on all measures: what compares models."""
MEASURING_WORKER_BYTES = 700 * MB
"""Likewise what measures reconstructions, beside what it decodes, …"""
DECODE_BATCH_SIZE, N_DECODE_ARRAYS = 4096, 12.0
"""… spectra at a time (`distspec.measurements.features.BATCH_SIZE`), in so many arrays."""
N_FILE_COPIES = 6.0
"""A task holds its files' bytes about so many times: as read, as spectra, on the grid, as sent."""
N_INFERENCE_ARRAYS = 16.0
"""Arrays (rows × pixels, 4 bytes) of a span: flux, ivar, what is masked, smoothed and made of them."""
N_PREPARATION_SPECTRA = 16_384
"""Training spectra (`distspec.training.setup.N_INIT_SPECTRA`) that scales are taken from before the first step, …"""
N_PREPARATION_ARRAYS = 24.0
"""… in so many arrays at a time."""
BYTES_PER_PIXEL = 8.0
"""Bytes a pixel of flux and ivar."""
BYTES_PER_ROW = 700.0
"""Bytes a row of the store, of whoever asks which rows stand and of which sources they are."""


def estimate_loading_memory(batch_bytes: float) -> float:
    """Return what a task needs that reads so many bytes of an archive's files [bytes].

    Examples
    --------
    >>> loading(24e6) / 1e6
    544.0
    """
    return WORKER_BYTES + N_FILE_COPIES * batch_bytes


def estimate_inference_memory(n_rows: int, n_pixels: int) -> float:
    """Return what embedding or judging a span of spectra needs [bytes]."""
    return TORCH_WORKER_BYTES + N_INFERENCE_ARRAYS * 4.0 * n_rows * n_pixels


def estimate_measurement_memory(n_pixels: int) -> float:
    """Return what measuring a model's reconstructions needs, some at a time of however many [bytes]."""
    return MEASURING_WORKER_BYTES + N_DECODE_ARRAYS * 4.0 * DECODE_BATCH_SIZE * n_pixels


def estimate_labeling_memory(
    n_rows: int, n_members: int, n_clusters: int, sample_size: int, n_dims: int
) -> float:
    """Return what labelling a span of latents needs [bytes].

    Parameters
    ----------
    n_rows : int
        Of the span: every repeat's memberships of them stand until all are there.
    n_members, n_clusters : int
        Clusterings that label, and their clusters at most.
    sample_size, n_dims : int
        Points that those were fitted to: they and their neighbours travel along.
    """
    return (
        TORCH_WORKER_BYTES
        + n_rows * (n_members * n_clusters * 8.0 * 2.0 + n_dims * 8.0 * 4.0)
        + sample_size * (n_dims * 24.0 + 1_500.0)
    )


def count_cached_rows(n_spectra: int, n_pixels: int, cache_mb: float) -> int:
    """Return how many of `n_spectra` spectra a training worker holds: all that fit, or none."""
    return n_spectra if n_spectra * BYTES_PER_PIXEL * n_pixels <= cache_mb * MB else 0


def estimate_training_memory(
    n_rows: int,
    n_train: int,
    n_validation: int,
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
    n_train, n_validation : int
        Spectra trained on, and this worker's share of those held out.
    n_pixels : int
    cache_mb : float
        What fits is held whole [MB]; of more, windows: the one in use, those ahead, and one being read.
    window : int
        Spectra of a window.
    prefetch : int
        Windows read ahead.
    """
    a_spectrum = BYTES_PER_PIXEL * n_pixels
    train = count_cached_rows(n_train, n_pixels, cache_mb)
    validation = count_cached_rows(n_validation, n_pixels, cache_mb - train * a_spectrum / MB)
    streams = (train < n_train) + (validation < n_validation)
    most = min(window, max(n_train, n_validation))
    held = train + validation + streams * (prefetch + 2) * most
    moment = max(
        N_PREPARATION_ARRAYS / 2.0 * min(N_PREPARATION_SPECTRA, n_train), max(train, validation, most)
    )
    return TORCH_WORKER_BYTES + BYTES_PER_ROW * n_rows + a_spectrum * (held + moment)


def estimate_evaluation_memory(n_rows: int, n_evaluated: int, n_pixels: int) -> float:
    """Return what comparing a model on some of a store's rows needs [bytes]."""
    return COMPILING_WORKER_BYTES + BYTES_PER_ROW * n_rows + N_INFERENCE_ARRAYS * 4.0 * n_evaluated * n_pixels
