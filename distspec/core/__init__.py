"""Package distspec.core."""
