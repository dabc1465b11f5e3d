"""Package distspec.store."""
