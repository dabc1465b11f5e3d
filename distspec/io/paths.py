"""Where the parts of a root are: the store, the models, the runs and the published catalogs."""

from __future__ import annotations


def join_url(url: str, *parts: str) -> str:
    """Return a URL below another one.

    Parameters
    ----------
    url : str
        Folder or bucket URL.
    *parts : str
        Names of folders and of the file.

    Returns
    -------
    str

    Examples
    --------
    >>> join_url("s3://bucket/root/", "models", "m-1")
    's3://bucket/root/models/m-1'
    """
    return "/".join([url.rstrip("/"), *parts])


def store_url(root: str) -> str:
    """Return the URL of the store of a root.

    Parameters
    ----------
    root : str
        Root of the project.

    Returns
    -------
    str
    """
    return join_url(root, "store")


def model_url(root: str, model_id: str) -> str:
    """Return the URL of the folder of a model.

    Parameters
    ----------
    root : str
        Root of the project.
    model_id : str
        Id of the model.

    Returns
    -------
    str
    """
    return join_url(root, "models", model_id)


def run_url(root: str, run_id: str) -> str:
    """Return the URL of the folder of a run.

    Parameters
    ----------
    root : str
        Root of the project.
    run_id : str
        Id of the run.

    Returns
    -------
    str
    """
    return join_url(root, "runs", run_id)


def catalog_url(root: str) -> str:
    """Return the URL of the folder of the published catalogs.

    Parameters
    ----------
    root : str
        Root of the project.

    Returns
    -------
    str
    """
    return join_url(root, "catalog")
