"""Package distspec.models."""
