"""NEEDS A DOCSTRING."""

from __future__ import annotations

from numba import njit

njit_nogil = njit(cache=True, nogil=True, error_model="numpy")
