"""The rest frame of a single spectrum."""

from distspec.preprocessing.rest_frame import to_rest_frame_batch


def to_rest_frame(spectrum):
    """Return rest-frame wavelength, flux and inverse variance of a spectrum, or raise why it has none."""
    rest = to_rest_frame_batch([spectrum])
    if rest.errors:
        raise rest.errors[0]
    return rest.get_spectrum(0)
