"""Package distspec.io."""
