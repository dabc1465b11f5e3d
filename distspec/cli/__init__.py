"""The command ``distspec``: a table of verbs, and one module for each group of them.

Holds `main` (dispatch and help), `run` (the pipeline) and the dataclasses whose fields are the arguments
of the verbs. May import the project and everything below it; a verb's module is imported only when the verb
is used.
"""

__all__: list[str] = []
