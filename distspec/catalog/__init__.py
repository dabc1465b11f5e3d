"""Package distspec.catalog."""
