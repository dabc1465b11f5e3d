"""Package distspec.training."""
