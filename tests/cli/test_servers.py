"""What the parts of a city refuse before they start: one line that says what to change."""

import pytest

from api.cli.errors import UsageProblemError
from api.cli.servers import checked_url
from api.cli.stores import redis_client


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("https://suanwang.example.cn", "https://suanwang.example.cn"),
        ("http://127.0.0.1:8471/", "http://127.0.0.1:8471"),
        ("https://example.cn/city/", "https://example.cn/city"),
    ],
)
def test_a_city_s_address_is_said_without_a_slash_at_its_end(url: str, source: str) -> None:
    assert checked_url(url) == source


@pytest.mark.parametrize(
    "url", ["", "suanwang.example.cn", "/city", "ftp://example.cn", "https://", "https://a?b=c", "https://a#b", "http://[::1"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageProblemError, match="--public-url"):
        checked_url(url)


@pytest.mark.parametrize("url", ["", "127.0.0.1:6379", "http://127.0.0.1:6379", "redis://:secret@host:port"])
def test_what_is_no_redis_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(UsageProblemError, match="--redis") as refused:
        redis_client(url)
    assert "secret" not in str(refused.value)
