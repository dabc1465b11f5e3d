"""The user's name, under which labels and rollbacks are recorded."""

from __future__ import annotations

import getpass
import os


def user_name() -> str:
    """Return the login name of the user, or the user number where the system has no name for it.

    Containers that run under a number without an entry in the password database have no name.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
