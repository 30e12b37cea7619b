"""Prometheus's view of one API process: routes by template, nobody by name."""

from prometheus_client.parser import text_string_to_metric_families

from tests.api.world import World


def samples(world: World) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    response = world.call("GET", "/metrics", "finance")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(response.text)
    return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


def count(found: dict[tuple[str, frozenset[tuple[str, str]]], float], method: str, route: str, status: int) -> float:
    labels = {"method": method, "route": route, "status": str(status)}
    return found.get(("suanwang_http_requests_total", frozenset(labels.items())), 0)


def test_requests_are_counted_by_the_template_of_their_route(world: World) -> None:
    before = samples(world)
    job = world.submit()
    world.call("GET", "/v1/jobs/job-none", "tenant-a")
    world.call("GET", "/no/such/path", "tenant-a")
    world.call("BREW", "/v1/jobs", "tenant-a")
    after = samples(world)
    for expected in (
        ("POST", "/v1/jobs", 201),
        ("GET", "/v1/jobs/{job_id}", 404),
        ("GET", "none", 404),
        ("other", "/v1/jobs", 405),
        ("GET", "/metrics", 200),
    ):
        assert count(after, *expected) == count(before, *expected) + 1, expected
    told = " ".join(value for _, labels in after for _, value in labels)
    assert job["id"] not in told
    assert "a-corp" not in told
