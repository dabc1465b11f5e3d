"""Classes and anomalies in growing archives of spectra."""

__version__ = "0.1.0"
