"""Dispatch and help of the command ``distspec``."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

import distspec as package
from distspec.cli.main import GROUPS, VERBS


def test_help_lists_every_verb_by_group(distspec):
    text = distspec("--help")
    assert all(f"{title}:" in text for title in GROUPS.values())
    assert all(f"\n  {name.ljust(18)}{verb.summary}" in text for name, verb in VERBS.items())
    assert "distspec run [STAGE] RECIPE --root URL" in text
    assert distspec() == text


@pytest.mark.parametrize("name", VERBS)
def test_the_summary_of_a_verb_is_that_of_its_class(name):
    verb = VERBS[name]
    assert verb.group in GROUPS
    assert verb.load().__doc__.strip().splitlines()[0] == verb.summary


def test_help_imports_neither_ray_nor_torch_and_is_fast():
    code = (
        "import sys; from distspec.cli.main import main; main(['--help']); "
        "heavy = {'ray', 'torch', 'matplotlib', 'numpy', 'pyarrow', 'tyro'} & set(sys.modules); "
        "sys.exit(', '.join(heavy) or 0)"
    )
    started = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert time.monotonic() - started < 5.0, "0.1 s on an idle machine"


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["nonsense"]])
def test_ends_quietly_if_nobody_reads_the_output(words):
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-c", "from distspec.cli.main import main; main()", *words]
    ended = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write_end)
    if words == ["nonsense"]:
        assert ended.returncode == 2
        assert len(ended.stderr.splitlines()) == 1
    else:
        assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, "")


def test_a_broken_connection_is_an_error_and_does_not_end_the_process(distspec, monkeypatch):
    """Sockets of Python raise `BrokenPipeError` only while SIGPIPE is ignored."""
    distspec("--version")
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN

    def send(_):
        one, other = socket.socketpair()
        other.close()
        with one:
            one.sendall(b"x")

    monkeypatch.setattr("distspec.cli.main._dispatch", send)
    with pytest.raises(BrokenPipeError):
        distspec("status")


def test_the_version_is_that_of_the_package(distspec):
    assert distspec("--version") == f"distspec {package.__version__}\n"


def test_an_unknown_verb_is_refused_with_a_suggestion(distspec):
    distspec.fails("querry", match="no verb 'querry': did you mean query", status=2)
    distspec.fails("xyzzy", match="distspec --help", status=2)


def test_an_unknown_argument_is_refused(distspec):
    distspec.fails("status", "--rot", "x", match="nrecognized|required", status=2)


def test_all_mistakes_are_reported_at_once(distspec):
    wrong = ("--seed", "-1", "--nope", "1", "--training.max-epochs", "x", "--retrain.max-age-days", "-2")
    right = ("--root", "out/x", "--clustering.k-min", "20", "--clustering.k-max", "30")
    messages = (r"(?s)\A(?!.*k_min)", "--nope", "'x'", "max_age_days -2.0", "seed -1 is negative")
    distspec.fails("run", "dja", *wrong, *right, match=".*".join(messages), status=2)
    wrong = ("--machines", "many", "--epochs", "-1", "--spectra", "10")
    distspec.fails("plan", *wrong, match="many.*negative|negative.*many", status=2)


def test_the_package_is_the_command():
    command = [sys.executable, "-m", "distspec", "--version"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout == f"distspec {package.__version__}\n"


def test_every_verb_explains_its_arguments(capsys):
    from distspec.cli.main import main

    for name in ("query", "predict", "rollback"):
        with pytest.raises(SystemExit) as stopped:
            main([name, "--help"])
        assert stopped.value.code == 0
        assert f"distspec {name}" in capsys.readouterr().out
