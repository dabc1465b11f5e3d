"""Entry points for ``ray job submit``: the pipeline and each of its stages; see ``distspec run``."""
