"""Entry points for `ray job submit` and the command line: one a stage, and the pipeline."""
