"""A mock NVML, built once for the tests that load a real library; `SUANWANG_TEST_NVML` names another one, of a driver perhaps."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def compiled(source: str, library: Path) -> Path:
    """A library of ours, from C beside this file. Skips the test where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler (cc, gcc or clang) to build a mock library")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, Path(__file__).with_name(source)], check=True)
    return library


@pytest.fixture(scope="session")
def mock_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a `libnvidia-ml.so.1` of our own."""
    return compiled("nvml_mock.c", tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1").parent


@pytest.fixture
def nvml_library(request: pytest.FixtureRequest) -> Path:
    """The library that `SUANWANG_TEST_NVML` names, such as `/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1`, or else the mock."""
    named = os.environ.get("SUANWANG_TEST_NVML")
    if named:
        return Path(named)
    folder: Path = request.getfixturevalue("mock_library")
    return folder / "libnvidia-ml.so.1"
