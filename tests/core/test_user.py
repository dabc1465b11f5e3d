"""The user's name on machines that have none for the user's number."""

import getpass
import os

import pytest

from distspec.core.user import user_name


@pytest.mark.parametrize("error", [KeyError("uid not found: 54321"), OSError("no username set")])
def test_a_user_without_a_name_has_the_number(error, monkeypatch):
    def fail():
        raise error

    monkeypatch.setattr(getpass, "getuser", fail)
    assert user_name() == str(os.getuid())
