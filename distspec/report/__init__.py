"""Package distspec.report."""
