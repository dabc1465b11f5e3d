"""The options with which numba compiles the numerical functions of distspec."""

from __future__ import annotations

from numba import njit

njit_nogil = njit(cache=True, nogil=True, error_model="numpy")
"""Compile once per machine, release the interpreter lock, and divide by zero as NumPy does."""
