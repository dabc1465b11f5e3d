"""The Python API: a project, that is everything below one root, as an object with the verbs of the command.

Holds `Project` and the types of its results: `QueryResult`, `CatalogTable`, `CatalogSpectrum`. May import the
pipeline and the layers below it; Ray, torch and matplotlib are imported by the methods that need them.
"""

from distspec.project.project import Project, open_project, run_recipe
from distspec.project.spectrum import CatalogSpectrum
from distspec.project.tables import CatalogTable, QueryResult

__all__ = ["CatalogSpectrum", "CatalogTable", "Project", "QueryResult", "open_project", "run_recipe"]
