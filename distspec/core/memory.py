"""Memory that tasks and actors request from Ray, computed from the size of the data.

Ray places no more tasks on a node than their requests fit in its memory. A request covers the process itself
and the arrays that exist at the same time at its peak; ``make bench BENCH=memory`` compares every formula
with measured peaks at two sizes.
"""

from __future__ import annotations

MB = 1e6
WORKER_BYTES = 400 * MB
"""Process with Python, Arrow, astropy and the store: reading, preprocessing and writing."""
TORCH_WORKER_BYTES = 600 * MB
"""Process that also imports torch and compiled functions: embedding, labeling and scoring."""
COMPILING_WORKER_BYTES = 900 * MB
"""Process that also compiles all measurements: comparing models."""
MEASURING_WORKER_BYTES = 700 * MB
"""Process that measures reconstructions, without the batches that it decodes."""
REDSHIFT_WORKER_BYTES = 1400 * MB
"""Process that measures redshifts: templates at all redshifts, and the pixels of a batch."""
DECODE_BATCH_SIZE = 4096
"""Spectra that are decoded at a time; equal to `distspec.measurements.features.BATCH_SIZE`."""
N_DECODE_ARRAYS = 12.0
"""Float32 arrays of the size of a decoded batch at the peak."""
N_FILE_COPIES = 6.0
"""Copies of its files' bytes in an ingest task: as read, as spectra, on the grid, and as sent."""
N_INFERENCE_ARRAYS = 16.0
"""Float32 arrays of the size of a block of spectra: flux, ivar, masked and smoothed input, and output."""
N_PREPARATION_SPECTRA = 16_384
"""Training spectra from which scales are computed; equal to `distspec.training.setup.N_INIT_SPECTRA`."""
N_PREPARATION_ARRAYS = 24.0
"""Float32 arrays of the size of those spectra at the peak."""
BYTES_PER_PIXEL = 8.0
"""Bytes per pixel of flux and ivar."""
BYTES_PER_ROW = 700.0
"""Bytes per row of the store in a process that reads which rows are current and their sources."""


def estimate_loading_memory(batch_bytes: float) -> float:
    """Return the memory of a task that reads spectra from files [bytes].

    Parameters
    ----------
    batch_bytes : float
        Size of the files that the task reads [bytes].

    Examples
    --------
    >>> estimate_loading_memory(24e6) / 1e6
    544.0
    """
    return WORKER_BYTES + N_FILE_COPIES * batch_bytes


def estimate_inference_memory(n_rows: int, n_pixels: int) -> float:
    """Return the memory of a task that embeds or scores a block of spectra [bytes].

    Parameters
    ----------
    n_rows : int
        Spectra in the block.
    n_pixels : int
        Pixels of the grid.
    """
    return TORCH_WORKER_BYTES + N_INFERENCE_ARRAYS * 4.0 * n_rows * n_pixels


def estimate_measurement_memory(n_pixels: int) -> float:
    """Return the memory of a task that measures reconstructions in batches [bytes].

    Parameters
    ----------
    n_pixels : int
        Pixels of the grid.
    """
    return MEASURING_WORKER_BYTES + N_DECODE_ARRAYS * 4.0 * DECODE_BATCH_SIZE * n_pixels


def estimate_labeling_memory(
    n_rows: int, n_members: int, n_clusters: int, sample_size: int, n_dims: int
) -> float:
    """Return the memory of a task that labels a block of spectra [bytes].

    Parameters
    ----------
    n_rows : int
        Spectra in the block; the memberships of all ensemble members are held until the last one is done.
    n_members, n_clusters : int
        Ensemble members, and the maximum number of clusters of one.
    sample_size, n_dims : int
        Points to which the members were fitted, which are sent with their neighbors, and their dimensions.
    """
    return (
        TORCH_WORKER_BYTES
        + n_rows * (n_members * n_clusters * 8.0 * 2.0 + n_dims * 8.0 * 4.0)
        + sample_size * (n_dims * 24.0 + 1_500.0)
    )


def count_cached_rows(n_spectra: int, n_pixels: int, cache_mb: float) -> int:
    """Return how many spectra a training worker keeps in memory: all of them if they fit, else none.

    Parameters
    ----------
    n_spectra, n_pixels : int
        Number of spectra and of their pixels.
    cache_mb : float
        Size of the cache [MB].
    """
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
    """Return the memory of a training worker [bytes]; on the host, if it trains on a GPU.

    Parameters
    ----------
    n_rows : int
        Rows of the store, whose identifiers the worker reads.
    n_train, n_validation : int
        Training spectra, and this worker's share of the validation spectra.
    n_pixels : int
        Pixels of the grid.
    cache_mb : float
        Size of the cache [MB]; spectra that do not fit are streamed in windows.
    window : int
        Spectra per window. The one in use, those ahead and the one that is being read are held.
    prefetch : int
        Windows that are read ahead.
    """
    spectrum_bytes = BYTES_PER_PIXEL * n_pixels
    n_train_cached = count_cached_rows(n_train, n_pixels, cache_mb)
    n_validation_cached = count_cached_rows(
        n_validation, n_pixels, cache_mb - n_train_cached * spectrum_bytes / MB
    )
    n_streams = (n_train_cached < n_train) + (n_validation_cached < n_validation)
    window_rows = min(window, max(n_train, n_validation))
    held_rows = n_train_cached + n_validation_cached + n_streams * (prefetch + 2) * window_rows
    transient_rows = max(
        N_PREPARATION_ARRAYS / 2.0 * min(N_PREPARATION_SPECTRA, n_train),
        max(n_train_cached, n_validation_cached, window_rows),
    )
    return TORCH_WORKER_BYTES + BYTES_PER_ROW * n_rows + spectrum_bytes * (held_rows + transient_rows)


def estimate_evaluation_memory(n_rows: int, n_evaluated: int, n_pixels: int) -> float:
    """Return the memory of a task that evaluates a model [bytes].

    Parameters
    ----------
    n_rows : int
        Rows of the store.
    n_evaluated : int
        Spectra on which the model is evaluated.
    n_pixels : int
        Pixels of the grid.
    """
    return COMPILING_WORKER_BYTES + BYTES_PER_ROW * n_rows + N_INFERENCE_ARRAYS * 4.0 * n_evaluated * n_pixels
