"""Ray's REST API when it is in trouble, answers garbage or does not come to an end."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from agents.city import TokenFile
from agents.cluster.launcher import LauncherGoneError, LauncherUnavailableError
from agents.cluster.ray import api
from agents.cluster.ray.api import RayApi
from tests.agents.cluster.fake_ray import FakeRay, launcher


def test_trouble_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(LauncherUnavailableError, match="does not answer"):
        launcher(FakeRay(down=True), tmp_path).observe()
    gone = RayApi("http://ray", "ray-token", alive=lambda: False, transport=httpx.MockTransport(FakeRay(down=True)))
    with pytest.raises(LauncherGoneError):
        gone.jobs("suanwang-")
    wrong = RayApi("http://ray", "wrong", transport=httpx.MockTransport(FakeRay()))
    with pytest.raises(LauncherUnavailableError, match="is its token right"):
        wrong.jobs("suanwang-")


@pytest.mark.parametrize("answer", [b"<html>502</html>", b"{}", b"[1]", b'{"data": null}', b"", b"\xff"])
def test_garbage_says_nothing_of_any_run(tmp_path: Path, answer: bytes) -> None:
    one = RayApi("http://ray", None, transport=httpx.MockTransport(lambda _: httpx.Response(200, content=answer)))
    for ask in (lambda: one.jobs("suanwang-"), one.nodes):
        with pytest.raises(LauncherUnavailableError, match="cannot read"):
            ask()
    assert one.log_names("n", "*") is None


def test_an_answer_that_trickles_in_or_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless() -> Any:
        while True:
            yield b"[" * 65_536

    one = RayApi("http://ray", None, transport=httpx.MockTransport(lambda _: httpx.Response(200, content=endless())))
    with pytest.raises(LauncherUnavailableError, match="more than"):
        one.jobs("suanwang-")
    monkeypatch.setattr(api, "ANSWER_SECONDS", -1.0)
    with pytest.raises(LauncherUnavailableError, match="took more than"):
        one.jobs("suanwang-")


def test_a_token_is_replaced_by_writing_its_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old-token")
    one = RayApi("http://ray", TokenFile(file), transport=httpx.MockTransport(FakeRay()))
    with pytest.raises(LauncherUnavailableError, match="is its token right"):
        one.jobs("suanwang-")
    file.write_text("ray-token")
    assert one.jobs("suanwang-") == []
