"""Which folders a tenant may make the agent read: only what lies inside the allowed ones, links resolved."""

import io
import zipfile
from pathlib import Path

import pytest

from agents.cluster import working_dir
from agents.cluster.launcher import LaunchRefusedError
from agents.cluster.working_dir import allowed_folder, is_remote, pack


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "id_rsa").write_text("private")
    root = tmp_path / "allowed"
    (root / "src" / "sub").mkdir(parents=True)
    (root / "src" / "train.py").write_text("print(1)")
    (root / "src" / "sub" / "数据.txt").write_text("x")
    return root


def test_inside_an_allowed_folder_is_allowed(root: Path) -> None:
    assert allowed_folder(str(root / "src"), [Path("/nowhere"), root]) == root / "src"
    assert allowed_folder(str(root), [root]) == root
    assert allowed_folder(str(root / "src" / ".." / "src"), [root]) == root / "src"


@pytest.mark.parametrize("path", ["../secret", "link", "missing", "src/train.py", "../allowed-too"])
def test_outside_and_missing_are_refused_alike(root: Path, path: str) -> None:
    (root / "link").symlink_to(root.parent / "secret")
    (root.parent / "allowed-too").mkdir()
    with pytest.raises(LaunchRefusedError, match="not a folder inside one of"):
        allowed_folder(str(root / path), [root])


def test_relative_folders_and_agents_without_roots_are_refused(root: Path) -> None:
    with pytest.raises(LaunchRefusedError, match="absolute"):
        allowed_folder("src", [root])
    with pytest.raises(LaunchRefusedError, match="--local-root"):
        allowed_folder(str(root / "src"), [])


@pytest.mark.parametrize("uri", ["file:///root/.ssh.zip", "gcs://_ray_pkg_1.zip", "http://x/a.zip", "ssh://x"])
def test_schemes_that_reach_into_the_cluster_are_refused(uri: str) -> None:
    with pytest.raises(LaunchRefusedError, match="is not allowed"):
        is_remote(uri)


def test_uris_the_cluster_fetches_itself_pass() -> None:
    assert is_remote("https://example.cn/code.zip")
    assert is_remote("s3://bucket/code.zip")
    assert not is_remote("/srv/code")


def test_a_package_is_named_by_its_content(root: Path) -> None:
    name, content = pack(root / "src")
    assert pack(root / "src") == (name, content)
    assert sorted(zipfile.ZipFile(io.BytesIO(content)).namelist()) == ["sub/数据.txt", "train.py"]
    (root / "src" / "train.py").write_text("print(2)")
    assert pack(root / "src")[0] != name


def test_links_inside_are_followed_and_links_outside_refused(root: Path) -> None:
    (root / "src" / "same.py").symlink_to("train.py")
    assert b"same.py" in pack(root / "src")[1]
    (root / "src" / "key").symlink_to(root.parent / "secret" / "id_rsa")
    with pytest.raises(LaunchRefusedError, match="key is a link that leads outside"):
        pack(root / "src")


def test_a_package_has_a_limit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working_dir, "MAX_PACKAGE_BYTES", 5)
    with pytest.raises(LaunchRefusedError, match="more than the"):
        pack(root / "src")
