"""Package distspec.inference."""
