"""What is installed is what the repository says: one version, typed, with its command and its extras."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from importlib.metadata import entry_points, requires, version
from pathlib import Path

import pytest

import hybridrt

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_one_version_everywhere() -> None:
    assert hybridrt.__version__ == PROJECT["version"] == version("hybridrt")
    assert f"## [{hybridrt.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_command_is_there() -> None:
    (command,) = entry_points(group="console_scripts", name="hybridrt")
    assert callable(command.load())
    script = Path(sys.executable).with_name("hybridrt")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout


@pytest.mark.parametrize("extra", PROJECT["optional-dependencies"])
def test_each_extra_is_documented(extra: str) -> None:
    assert f"hybridrt[{extra}]" in (ROOT / "README.md").read_text()


def test_five_dependencies_and_no_more() -> None:
    needed = {line.split(">")[0] for line in requires("hybridrt") or () if "extra ==" not in line}
    assert needed == {"aiofiles", "anyio", "cloudpickle", "tblib", "uvloop"}


def test_each_public_name_opens() -> None:
    assert {name: getattr(hybridrt, name, None) is not None for name in hybridrt.__all__} == dict.fromkeys(
        hybridrt.__all__, True
    )
    assert set(hybridrt.__all__) <= set(dir(hybridrt))


def test_the_wheel_carries_the_package_and_nothing_else(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    done = subprocess.run(build, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        about = f"hybridrt-{hybridrt.__version__}.dist-info"
        metadata = Parser().parsestr(archive.read(f"{about}/METADATA").decode())
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "hybridrt").rglob("*.py")}
    assert {name for name in names if not name.startswith(about)} == sources | {"hybridrt/py.typed"}
    assert f"{about}/licenses/LICENSE" in names
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "hybridrt" in metadata.get_payload(), "pyproject.toml has no readme"
