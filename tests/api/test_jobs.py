"""Jobs through the API: submitted, listed, looked at, cancelled, and everything there is to know about one."""

from datetime import timedelta

import pytest

from tests.api.world import START, World, card, observed, problem, spec


def test_a_submitted_job_is_queued_and_shown_as_it_was_sent(world: World) -> None:
    job = world.submit(priority="high", contract="C-A", depends_on=[])
    assert job["id"].startswith("job-")
    assert (job["tenant"], job["state"], job["attempts"], job["verdict"]) == ("a-corp", "queued", 0, None)
    assert job["submitted_at"] == "2026-11-21T08:00:00.000000Z"
    assert job["reasons"][0]["code"] == "waiting_for_round"
    sent = spec(priority="high", contract="C-A")
    assert {key: job["spec"][key] for key in ("name", "entrypoint", "activity", "priority", "contract", "max_runtime")} == {
        key: sent[key] for key in ("name", "entrypoint", "activity", "priority", "contract", "max_runtime")
    }
    assert job["spec"]["hardware"]["models"] == ["910B3"]
    assert job["costs"]["net_amount"] == "0.000000"
    assert world.get(f"/v1/jobs/{job['id']}", "tenant-a") == job


def test_what_one_tenant_may_see_is_not_what_another_is_measured_by(world: World) -> None:
    """What the API keeps in memory from one request to the next is the city's, not that of whoever asked first."""
    assert world.submit("tenant-b")["state"] == "queued"
    assert world.submit("tenant-a", contract="C-A")["state"] == "queued"


def test_alternatives_are_kept_in_order(world: World) -> None:
    job = world.submit(hardware=[{"models": ["910B3"], "per_node": 8}, {"class": "foreign", "nodes": 2}])
    assert [alternative["class"] for alternative in job["spec"]["hardware"]] == [None, "foreign"]


def test_jobs_are_listed_newest_first_page_by_page(world: World) -> None:
    submitted = [world.submit(name=f"job-{number}")["id"] for number in range(5)]
    seen: list[str] = []
    after: dict[str, str] = {}
    for expected in (2, 2, 1):
        page = world.get("/v1/jobs", "tenant-a", limit=2, **after)
        assert len(page["jobs"]) == expected
        seen += [job["id"] for job in page["jobs"]]
        after = {"after": page["next"]}
    assert seen == submitted[::-1]
    assert page["next"] is None


def test_jobs_are_listed_by_state(world: World) -> None:
    kept, cancelled = world.submit()["id"], world.submit()["id"]
    world.post(f"/v1/jobs/{cancelled}/cancel", {}, "tenant-a", 202)
    assert [job["id"] for job in world.get("/v1/jobs", "tenant-a", state="queued")["jobs"]] == [kept]
    assert [job["id"] for job in world.get("/v1/jobs", "tenant-a", state="cancelled")["jobs"]] == [cancelled]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=ten", "limit"),
        ("limit=1e2", "limit"),
        ("after=not-a-cursor", "after"),
        ("after=" + "x" * 5000, "after"),
        ("after=", "after"),
        ("after=job-%00", "after"),
        ("state=unheard-of", "state"),
    ],
)
def test_a_bad_query_is_refused_by_name(world: World, query: str, field: str) -> None:
    problem(world.call("GET", f"/v1/jobs?{query}", "tenant-a"), 422, "invalid_request", field)


@pytest.mark.parametrize("after", ["-1", "abc", "1.5", str(2**63), str(10**30)])
def test_a_bad_event_cursor_is_refused(world: World, after: str) -> None:
    path = f"/v1/jobs/{world.submit()['id']}/events"
    problem(world.call("GET", path, "tenant-a", params={"after": after}), 422, "invalid_request", "after")


@pytest.mark.parametrize("what", ["", "/attempts", "/events", "/logs", "/costs", "/explanation"])
@pytest.mark.parametrize("id_", ["job-none", "x" * 3000, "%00", "%F0%9F%90%BC", "..%2F", "%ff"])
def test_a_job_that_never_was_is_not_found(world: World, id_: str, what: str) -> None:
    response = world.call("GET", f"/v1/jobs/{id_}{what}", "tenant-a")
    problem(response, 404, "no_such_path" if id_ == "..%2F" else "not_found")
    assert len(response.content) < 1500


def test_a_waiting_job_is_cancelled_at_once(world: World) -> None:
    job = world.submit()
    cancelled = world.post(f"/v1/jobs/{job['id']}/cancel", {}, "tenant-a", 202)
    assert (cancelled["state"], cancelled["reasons"][0]["code"]) == ("cancelled", "cancelled")
    assert cancelled["finished_at"] is not None


def test_a_finished_job_cannot_be_cancelled(world: World) -> None:
    path = f"/v1/jobs/{world.submit()['id']}/cancel"
    world.post(path, {}, "operator", 202)
    before = world.rows()
    assert "cancelled" in problem(world.call("POST", path, "tenant-a"), 409, "job_finished").detail
    assert world.rows() == before


def test_a_running_job_is_asked_to_stop(world: World) -> None:
    job, run = world.start_job()
    for _ in range(2):
        assert world.post(f"/v1/jobs/{job['id']}/cancel", {}, "tenant-a", 202)["state"] == "running"
    assert world.sync("sz-ascend", observed(run, "running", started_at=START.isoformat())) == []
    assert world.sync("sz-ascend", observed(run, "stopped")) == []
    assert world.get(f"/v1/jobs/{job['id']}", "tenant-a")["state"] == "cancelled"
    codes = [event["reason"]["code"] for event in world.get(f"/v1/jobs/{job['id']}/events", "tenant-a")["events"]]
    assert codes.count("cancel_requested") == 1


def test_events_tell_the_story_page_by_page(world: World) -> None:
    job, run = world.start_job()
    world.finish_job(run, 60)
    path = f"/v1/jobs/{job['id']}/events"
    whole = world.get(path, "tenant-a")
    assert [event["reason"]["code"] for event in whole["events"]] == ["submitted", "granted", "started", "succeeded"]
    assert [event["attempt"] for event in whole["events"]] == [None, 1, 1, 1]
    first = world.get(path, "tenant-a", limit=3)
    rest = world.get(path, "tenant-a", limit=3, after=first["next"])
    assert first["events"] + rest["events"] == whole["events"]
    assert rest["next"] is None


def test_attempts_say_where_it_went_and_that_it_was_recorded(world: World) -> None:
    job, run = world.start_job()
    world.finish_job(run, 60)
    (attempt,) = world.get(f"/v1/jobs/{job['id']}/attempts", "tenant-a")["attempts"]
    assert attempt["id"] == run["attempt"]
    assert (attempt["state"], attempt["cluster"], attempt["recorded"]) == ("succeeded", "sz-ascend", True)
    assert (attempt["hardware_class"], attempt["model"], attempt["nodes"], attempt["cards"]) == ("domestic", "910B3", ["node-1"], 8)
    assert attempt["exit_code"] == 0
    shown = world.get(f"/v1/jobs/{job['id']}", "tenant-a")
    assert (shown["cluster"], shown["recorded"], shown["model"]) == ("sz-ascend", True, "910B3")


def test_costs_are_final_once_the_last_line_is_posted(world: World) -> None:
    job, run = world.start_job()
    path = f"/v1/jobs/{job['id']}/costs"
    assert world.get(path, "tenant-a") == {
        "job": job["id"],
        "state": "open",
        **dict.fromkeys(("list_amount", "contracted_amount", "voucher_estimate", "net_amount"), "0.000000"),
        "voucher_settled": None,
        "records": [],
    }
    world.finish_job(run, 1800)
    costs = world.get(path, "tenant-a")
    assert (costs["state"], len(costs["records"])) == ("final", 1)
    assert (costs["list_amount"], costs["contracted_amount"]) == ("48.000000", "43.200000")  # 8 cards × ½ h × 12 and 10.8
    assert costs["records"][0]["card_seconds"] == 8 * 1800
    assert world.get(f"/v1/jobs/{job['id']}", "tenant-a")["costs"]["contracted_amount"] == "43.200000"


def test_the_log_is_that_of_the_latest_attempt_or_of_a_named_one(world: World) -> None:
    job, run = world.start_job()
    path = f"/v1/jobs/{job['id']}/logs"
    assert world.get(path, "tenant-a")["text"] == ""
    chunk = {"attempt": run["attempt"], "fencing_token": run["fencing_token"], "offset": 0, "text": "第一行\n"}
    world.post("/v1/clusters/sz-ascend/logs", {"chunks": [chunk]}, "agent-ascend", 200)
    log = world.get(path, "tenant-a")
    assert (log["attempt"], log["number"], log["task"], log["text"]) == (run["attempt"], 1, None, "第一行\n")
    assert world.get(path, "operator", attempt=1) == log
    problem(world.call("GET", path, "tenant-a", params={"attempt": 2}), 404, "not_found")
    problem(world.call("GET", path, "tenant-a", params={"attempt": 0}), 422, "invalid_request", "attempt")


def test_a_job_without_an_attempt_has_no_log_yet(world: World) -> None:
    problem(world.call("GET", f"/v1/jobs/{world.submit()['id']}/logs", "tenant-a"), 404, "not_found")


def test_hardware_nobody_has_is_accepted_and_waits_with_its_reason(world: World) -> None:
    world.report("sz-ascend", "node-1", [card(n) for n in range(8)])
    world.sync("sz-ascend")
    job = world.submit(hardware={"models": ["B300"], "nodes": 4000, "per_node": 8})
    world.turn()
    waiting = world.get(f"/v1/jobs/{job['id']}", "tenant-a")
    assert (waiting["state"], waiting["verdict"]) == ("queued", "never")
    assert waiting["reasons"][0]["text"] == "no node it may use has 8 × B300"


def test_with_no_hardware_at_all_everything_waits(world: World) -> None:
    assert world.submit(hardware={"nodes": 10_000, "per_node": 64})["state"] == "queued"


def test_reasons_come_in_the_language_asked_for(world: World) -> None:
    job = world.submit()
    for language in ("zh", "zh-CN,zh;q=0.9,en;q=0.8", "ZH-tw"):
        shown = world.get(f"/v1/jobs/{job['id']}", "tenant-a", language=language)
        assert shown["reasons"][0]["text"] == "已提交,等待下一轮调度"
        events = world.get(f"/v1/jobs/{job['id']}/events", "tenant-a", language=language)["events"]
        assert events[0]["reason"]["text"] == "已受理并排队"
    for language in ("", "en", "de", "*"):
        assert world.get(f"/v1/jobs/{job['id']}", "tenant-a", language=language)["reasons"][0]["text"].startswith("submitted;")
    assert world.get("/v1/jobs", "tenant-a", language="zh")["jobs"][0]["reasons"][0]["code"] == "waiting_for_round"
    chinese = world.call("POST", "/v1/jobs", "tenant-a", json=spec(), headers={"Accept-Language": "zh"})
    assert chinese.json()["reasons"][0]["text"] == "已提交,等待下一轮调度"


def test_what_a_run_would_lose_now_is_told_by_the_age_of_its_checkpoint(world: World) -> None:
    job, run = world.start_job()
    path = f"/v1/jobs/{job['id']}"
    started = world.clock.now
    world.clock.advance(100)
    risk = world.get(path, "tenant-a")["at_risk"]
    assert (risk["checkpoint_at"], risk["seconds"], risk["card_seconds"]) == (None, 100, 800)
    assert risk["reason"]["text"] == "it has no checkpoint yet, after 1m40s: 800 card-seconds would be lost now"
    saved = started + timedelta(seconds=90)
    running = {"started_at": started.isoformat(), "checkpoint_at": saved.isoformat()}
    world.sync("sz-ascend", observed(run, "running", **running))
    world.clock.advance(50)
    for risk in (
        world.get(path, "tenant-a")["at_risk"],
        world.get(f"{path}/attempts", "tenant-a")["attempts"][0]["at_risk"],
        world.get(f"{path}/explanation", "tenant-a")["at_risk"],
    ):
        assert (risk["seconds"], risk["card_seconds"], risk["reason"]["code"]) == (60, 480, "checkpoint_saved")
    chinese = world.get(path, "tenant-a", "zh")["at_risk"]["reason"]["text"]
    assert chinese == "最近一次检查点距今 1m;若此刻中断将损失 480 卡秒"
    world.sync("sz-ascend", observed(run, "failed", exit_code=1))
    assert world.get(path, "tenant-a")["at_risk"] is None


def test_a_checkpoint_of_a_clock_that_is_ahead_is_no_later_than_now(world: World) -> None:
    job, run = world.start_job()
    started = world.clock.now
    world.clock.advance(100)
    future = world.clock.now + timedelta(hours=1)
    world.sync("sz-ascend", observed(run, "running", started_at=started.isoformat(), checkpoint_at=future.isoformat()))
    world.clock.advance(10)
    assert world.get(f"/v1/jobs/{job['id']}", "tenant-a")["at_risk"]["seconds"] == 10
