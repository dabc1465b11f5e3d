"""The stages: the only rooms that know Ray."""
