"""Package distspec.operations."""
