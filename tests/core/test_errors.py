"""Test that errors are in one tree and survive the way from a Ray worker."""

import pickle

import pytest

from distspec.core import errors
from distspec.core.errors import DistspecError, InvalidSpectrumError, QuarantineReason


def subclasses(cls):
    return {cls}.union(*(subclasses(subclass) for subclass in cls.__subclasses__()))


MESSAGE_ERRORS = sorted(
    (cls for cls in subclasses(DistspecError) if cls.__module__ == errors.__name__),
    key=lambda cls: cls.__name__,
)


@pytest.mark.parametrize("cls", MESSAGE_ERRORS, ids=lambda cls: cls.__name__)
def test_errors_can_be_pickled(cls):
    arguments = (QuarantineReason.FLAGGED, "message") if cls is InvalidSpectrumError else ("message",)
    copy = pickle.loads(pickle.dumps(cls(*arguments)))
    assert type(copy) is cls
    assert copy.args == arguments
    assert "message" in str(copy)
    assert copy.exit_status in (1, 2, 75)


def test_an_invalid_spectrum_has_a_reason_and_a_detail():
    error = pickle.loads(pickle.dumps(InvalidSpectrumError(QuarantineReason.NO_REDSHIFT, "z = nan")))
    assert (error.reason, error.detail) == (QuarantineReason.NO_REDSHIFT, "z = nan")
    assert str(error) == "no_redshift: z = nan"
