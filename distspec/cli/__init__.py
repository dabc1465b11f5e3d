"""Verbs of the command `distspec`, a file a group."""
