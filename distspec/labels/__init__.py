"""Package distspec.labels."""
