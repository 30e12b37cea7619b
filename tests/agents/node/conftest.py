"""A mock NVML, built once for the tests that load a real library; `SUANWANG_TEST_NVML` names another one, of a driver perhaps."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def mock_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a `libnvidia-ml.so.1` of our own."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler (cc, gcc or clang) to build the mock NVML")
    folder = tmp_path_factory.mktemp("nvml")
    source = Path(__file__).with_name("nvml_mock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "libnvidia-ml.so.1", source], check=True)
    return folder


@pytest.fixture
def nvml_library(request: pytest.FixtureRequest) -> Path:
    """The library that `SUANWANG_TEST_NVML` names, such as `/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1`, or else the mock."""
    named = os.environ.get("SUANWANG_TEST_NVML")
    if named:
        return Path(named)
    folder: Path = request.getfixturevalue("mock_library")
    return folder / "libnvidia-ml.so.1"
