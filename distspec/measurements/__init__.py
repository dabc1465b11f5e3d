"""Package distspec.measurements."""
