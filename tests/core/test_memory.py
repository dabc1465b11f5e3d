import pytest
from hypothesis import given
from hypothesis import strategies as st

from distspec.core import memory
from distspec.core.memory import (
    count_cached_rows,
    estimate_evaluation_memory,
    estimate_inference_memory,
    estimate_labeling_memory,
    estimate_loading_memory,
    estimate_training_memory,
)
from distspec.measurements import features
from distspec.training import setup

MB = 1e6
SIZES = st.integers(1, 10_000_000)


def of(n, pixels=640, cache_mb=2048.0, window=32_000, prefetch=1):
    return estimate_training_memory(n, n - n // 8, n // 8, pixels, cache_mb, window, prefetch)


@given(SIZES, SIZES)
def test_estimates_increase_with_the_data(a, b):
    small, large = sorted((a, b))
    assert estimate_loading_memory(small) <= estimate_loading_memory(large)
    assert estimate_inference_memory(small, 640) <= estimate_inference_memory(large, 640)
    assert estimate_evaluation_memory(small, 100, 640) <= estimate_evaluation_memory(large, 100, 640)
    assert estimate_labeling_memory(small, 5, 8, 100, 16) <= estimate_labeling_memory(large, 5, 8, 100, 16)
    assert estimate_loading_memory(small) >= memory.WORKER_BYTES


@given(SIZES, st.floats(1.0, 1e5), st.integers(1, 5_000))
def test_a_worker_caches_all_spectra_or_none(n, cache_mb, pixels):
    held = count_cached_rows(n, pixels, cache_mb)
    assert held in (0, n)
    assert held * 8 * pixels <= cache_mb * MB


def test_the_memory_of_a_training_worker_is_bounded_by_cache_and_windows():
    least, held, streamed = of(1_000), of(300_000), of(10_000_000)
    assert least < held
    assert held > least + 8 * 640 * 300_000 * 0.8
    # 10^7 spectra are 51 GB; a worker is given their rows' names and some windows.
    assert streamed < memory.BYTES_PER_ROW * 10_000_000 + 6e9
    assert of(10_000_000, window=64_000) > of(10_000_000, window=32_000)
    assert of(10_000_000, prefetch=3) > of(10_000_000)


def test_batch_sizes_equal_those_of_the_code():
    assert memory.N_PREPARATION_SPECTRA == setup.N_INIT_SPECTRA
    assert memory.DECODE_BATCH_SIZE == features.BATCH_SIZE


@pytest.mark.parametrize("small", [0, 1])
def test_few_spectra_need_little_more_than_the_process(small):
    assert of(small) < memory.TORCH_WORKER_BYTES + 10 * MB
