"""Package distspec.preprocessing."""
