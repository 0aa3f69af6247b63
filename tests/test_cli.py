"""The `hybridrt` command tells what it can do, and says in one line what is wrong with its arguments."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import hybridrt
from hybridrt import cli


@pytest.mark.parametrize("arguments", [["--help"], []])
def test_help_names_the_demo(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        assert cli.main(arguments) == 0
    except SystemExit as ended:
        assert ended.code == 0  # noqa: PT017  (argparse leaves so after --help)
    assert "demo" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"hybridrt {hybridrt.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dmeo"], "invalid choice: 'dmeo'"),
        (["demo", "--limit", "0"], "--limit: '0' is not a whole number of at least 1"),
        (["demo", "--rounds", "many"], "--rounds: 'many' is not a whole number of at least 1"),
        (["demo", "--lmit", "3"], "unrecognized arguments: --lmit"),
    ],
)
def test_wrong_arguments(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("as_json", [[], ["--json"]])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing", "cannot read the directory {}: No such file or directory"),
        ("a_file", "cannot read the directory {}: Not a directory"),
        ("empty", "there are no files in {}"),
    ],
)
def test_a_directory_that_will_not_do(
    name: str, said: str, as_json: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a_file").touch()
    (tmp_path / "empty").mkdir()
    path = tmp_path / name
    assert cli.main(["demo", "--dir", str(path), *as_json]) == 2
    told = capsys.readouterr()
    assert told.err == f"hybridrt demo: {said.format(path)}\n"
    assert not (as_json and told.out)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_directory_that_may_not_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0)
    try:
        assert cli.main(["demo", "--dir", str(tmp_path)]) == 2
    finally:
        tmp_path.chmod(0o700)
    assert (
        capsys.readouterr().err == f"hybridrt demo: cannot read the directory {tmp_path}: Permission denied\n"
    )


def test_a_reader_that_leaves_early_is_no_traceback(tmp_path: Path) -> None:
    code = "import sys; from hybridrt.cli import main; sys.exit(main(['demo', '--dir', sys.argv[1]]))"
    command = [sys.executable, "-c", code, str(tmp_path / "missing")]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        ended = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, check=False)
    assert (ended.returncode, ended.stderr) == (1, b"")
