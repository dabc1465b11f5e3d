"""Package distspec.clustering."""
