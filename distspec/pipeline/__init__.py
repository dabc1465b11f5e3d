"""Package distspec.pipeline."""
