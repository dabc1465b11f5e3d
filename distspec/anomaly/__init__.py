"""Package distspec.anomaly."""
