"""Package distspec.ingest."""
