"""One city, spoken to with one bearer token."""

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import uuid4

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from scheduler.contract.answers import Explanation, Quote
from scheduler.contract.budget import BudgetView
from scheduler.contract.cost import JobCosts
from scheduler.contract.expense import ExpensePage, ExpenseView
from scheduler.contract.inventory import Inventory, NodePage
from scheduler.contract.job import AttemptPage, EventPage, JobPage, JobView, TaskPage
from scheduler.contract.links import LinkView
from scheduler.contract.price import PricePage, PriceView
from scheduler.contract.problem import Problem
from scheduler.contract.registry import ClusterView, Provider, Tenant, TokenIssued, TokenRequest
from scheduler.contract.scheduling import SchedulingPolicy
from scheduler.contract.settlement import Settlement, SettlementPage, SettlementView
from scheduler.contract.sync import LogView
from scheduler.contract.window import WindowView

TIMEOUT_SECONDS = 10.0
FEED_PAGE = 200

Query = Mapping[str, str | int | None]
Answer = TypeVar("Answer", bound=BaseModel)
Shape = TypeVar("Shape")


class _FeedPage(BaseModel):
    """A `CostRecordPage` whose records stay the documents that were hashed."""

    records: list[dict[str, Any]]
    next: int
    head_sequence: int


class ApiUnreachableError(Exception):
    """The city did not answer, or not with anything this client can read."""


class ApiProblemError(Exception):
    """The city refused. `problem` says why, in en and zh, naming the fields."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class Client:
    """The API as methods. Each raises ApiProblemError when refused and ApiUnreachableError when there is no answer."""

    def __init__(self, url: str, token: str, language: str = "en") -> None:
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}", "Accept-Language": language},
            timeout=TIMEOUT_SECONDS,
            trust_env=False,
        )

    def submit(self, spec: Mapping[str, Any], idempotency_key: str | None = None) -> JobView:
        """Queue a job. Without a key of the caller's own, a fresh one makes a lost answer safe to ask for again."""
        return self._post("/v1/jobs", spec, JobView, idempotency_key)

    def quote(self, spec: Mapping[str, Any]) -> Quote:
        """What would become of a job if it were submitted now. Nothing is stored."""
        return _read(self._request("POST", "/v1/quotes", spec), Quote)

    def explanation(self, job_id: str) -> Explanation:
        """Why a job is where it is, or why it waits and what would help."""
        return self._get(f"/v1/jobs/{job_id}/explanation", Explanation)

    def job(self, job_id: str) -> JobView:
        return self._get(f"/v1/jobs/{job_id}", JobView)

    def jobs(self, limit: int = 50, state: str | None = None) -> JobPage:
        return self._get("/v1/jobs", JobPage, limit=limit, state=state)

    def cancel(self, job_id: str) -> JobView:
        return self._post(f"/v1/jobs/{job_id}/cancel", {}, JobView)

    def tasks(self, job_id: str, limit: int = 200, after: int = -1, state: str | None = None) -> TaskPage:
        """The tasks of an array that have begun, by index."""
        return self._get(f"/v1/jobs/{job_id}/tasks", TaskPage, limit=limit, after=after, state=state)

    def attempts(self, job_id: str, task: int | None = None, after: int = 0) -> AttemptPage:
        return self._get(f"/v1/jobs/{job_id}/attempts", AttemptPage, task=task, after=after)

    def events(self, job_id: str, limit: int = 200, task: int | None = None) -> EventPage:
        return self._get(f"/v1/jobs/{job_id}/events", EventPage, limit=limit, task=task)

    def log(
        self,
        job_id: str,
        attempt: int | None = None,
        task: int | None = None,
        *,
        rank: int = 0,
        offset: int = 0,
        limit: int | None = None,
        wait_seconds: int = 0,
    ) -> LogView:
        """A stretch of what a rank printed, waiting for so many seconds where there is nothing at `offset` yet."""
        asked = {"attempt": attempt, "task": task, "rank": rank, "offset": offset, "limit": limit, "wait_seconds": wait_seconds}
        response = self._request("GET", f"/v1/jobs/{job_id}/logs", query=asked, wait_seconds=wait_seconds)
        return _read(response, LogView)

    def costs(self, job_id: str) -> JobCosts:
        return self._get(f"/v1/jobs/{job_id}/costs", JobCosts)

    def inventory(self) -> Inventory:
        return self._get("/v1/inventory", Inventory)

    def nodes(self, limit: int = 200, after: str | None = None) -> NodePage:
        """Nodes by cluster and name, with their cards and who uses them; for the city's own people."""
        return self._get("/v1/nodes", NodePage, limit=limit, after=after)

    def clusters(self) -> list[ClusterView]:
        return _read_as(self._request("GET", "/v1/clusters"), TypeAdapter(list[ClusterView]))

    def tenants(self) -> list[Tenant]:
        return _read_as(self._request("GET", "/v1/tenants"), TypeAdapter(list[Tenant]))

    def providers(self) -> list[Provider]:
        return _read_as(self._request("GET", "/v1/providers"), TypeAdapter(list[Provider]))

    def budgets(self) -> list[BudgetView]:
        """Budgets as they stand: a tenant's own, or everybody's."""
        return _read_as(self._request("GET", "/v1/budgets"), TypeAdapter(list[BudgetView]))

    def links(self) -> list[LinkView]:
        return _read_as(self._request("GET", "/v1/links"), TypeAdapter(list[LinkView]))

    def prices(self, at: str | None = None, cluster: str | None = None) -> list[PriceView]:
        """Every price ever published, or those in force at a moment (RFC 3339), in the order they were published in."""
        found: list[PriceView] = []
        after = None
        while True:
            page = self._get("/v1/prices", PricePage, at=at, cluster=cluster, after=after)
            found += page.prices
            after = page.next
            if after is None:
                return found

    def expenses(self, contract: str | None = None) -> list[ExpenseView]:
        """What was bought beside the machines, in the order it was posted in."""
        found: list[ExpenseView] = []
        after = None
        while True:
            page = self._get("/v1/expenses", ExpensePage, contract=contract, limit=FEED_PAGE, after=after)
            found += page.expenses
            after = page.next
            if after is None:
                return found

    def add_expense(self, expense: Mapping[str, Any], idempotency_key: str | None = None) -> ExpenseView:
        """Charge a purchase to a contract."""
        return self._post("/v1/expenses", expense, ExpenseView, idempotency_key)

    def publish_price(self, entry: Mapping[str, Any], idempotency_key: str | None = None) -> PriceView:
        """Publish a price."""
        return self._post("/v1/prices", entry, PriceView, idempotency_key)

    def windows(self, *, ended: bool = False) -> list[WindowView]:
        """Windows that are open or ahead; with `ended`, those that are over or cancelled after them."""
        return _read_as(self._request("GET", "/v1/windows", query={"ended": str(ended).lower()}), TypeAdapter(list[WindowView]))

    def create_window(self, spec: Mapping[str, Any], idempotency_key: str | None = None) -> WindowView:
        """Set nodes aside for maintenance or a reservation."""
        return self._post("/v1/windows", spec, WindowView, idempotency_key)

    def cancel_window(self, window_id: str) -> WindowView:
        """Give the nodes of a window back."""
        return self._post(f"/v1/windows/{window_id}/cancel", {}, WindowView)

    def scheduling(self) -> SchedulingPolicy:
        """How the city schedules."""
        return self._get("/v1/scheduling", SchedulingPolicy)

    def declare_scheduling(self, policy: Mapping[str, Any]) -> SchedulingPolicy:
        """Choose how the city schedules."""
        return self._post("/v1/scheduling", policy, SchedulingPolicy)

    def register(self, noun: str, body: BaseModel | Mapping[str, Any]) -> None:
        """Register a provider, tenant, cluster, contract, price, link or programme (the plural noun of its path)."""
        document = body.model_dump(mode="json", by_alias=True) if isinstance(body, BaseModel) else body
        self._request("POST", f"/v1/{noun}", document, uuid4().hex)

    def issue_token(self, request: TokenRequest) -> TokenIssued:
        return _read(self._request("POST", "/v1/tokens", request.model_dump(mode="json")), TokenIssued)

    def cost_records(self, after: int = 0) -> Iterator[dict[str, Any]]:
        """Every cost record after a sequence, as the very document that was hashed; ends at the head of the feed."""
        while True:
            page = self._get("/v1/cost-records", _FeedPage, after=after, limit=FEED_PAGE)
            yield from page.records
            if page.next >= page.head_sequence:
                return
            after = page.next

    def cost_context(self, sha256: str) -> dict[str, Any]:
        """The facts that decided the tags of the records that name them."""
        return _read_as(self._request("GET", f"/v1/cost-contexts/{sha256}"), TypeAdapter(dict[str, Any]))

    def head_sequence(self) -> int:
        """The sequence of the last cost record."""
        return self._get("/v1/cost-records", _FeedPage, after=0, limit=1).head_sequence

    def download(self, path: str, accept: str, query: Query) -> bytes:
        """A document in the form somebody accepts, as it is."""
        return self._request("GET", path, query=query, accept=accept).content

    def settle(self, settlement: Settlement) -> SettlementView:
        """Say what a ledger decided. Saying it again changes nothing."""
        return self._post("/v1/settlements", settlement.model_dump(mode="json"), SettlementView)

    def settlements(self, record: str | None = None, after: int = 0) -> Iterator[SettlementView]:
        """Every settlement, or those of a record, in the order in which they came."""
        while True:
            page = self._get("/v1/settlements", SettlementPage, record=record, after=after, limit=FEED_PAGE)
            yield from page.settlements
            if len(page.settlements) < FEED_PAGE:
                return
            after = page.next

    def is_ready(self) -> bool:
        """Whether the city and its stores answer."""
        try:
            return self._http.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _get(self, path: str, answer: type[Answer], **query: str | int | None) -> Answer:
        return _read(self._request("GET", path, query=query), answer)

    def _post(self, path: str, body: Mapping[str, Any], answer: type[Answer], key: str | None = None) -> Answer:
        return _read(self._request("POST", path, body, key or uuid4().hex), answer)

    def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        key: str | None = None,
        query: Query | None = None,
        accept: str = "application/json",
        wait_seconds: int = 0,
    ) -> httpx.Response:
        headers = {"Accept": accept, **({"Idempotency-Key": key} if key else {})}
        params = {name: value for name, value in (query or {}).items() if value is not None}
        try:
            timeout = TIMEOUT_SECONDS + wait_seconds if wait_seconds else httpx.USE_CLIENT_DEFAULT
            response = self._http.request(method, path, json=body, headers=headers, params=params, timeout=timeout)
        except httpx.TransportError as error:
            raise ApiUnreachableError(f"{self._http.base_url} does not answer ({type(error).__name__})") from error
        if response.is_success:
            return response
        try:
            problem = Problem.model_validate_json(response.content)
        except ValidationError as error:
            raise ApiUnreachableError(f"{self._http.base_url}{path} answered {response.status_code} without saying why") from error
        raise ApiProblemError(problem)


def _read(response: httpx.Response, answer: type[Answer]) -> Answer:
    return _read_as(response, TypeAdapter(answer))


def _read_as(response: httpx.Response, shape: TypeAdapter[Shape]) -> Shape:
    try:
        return shape.validate_json(response.content)
    except ValidationError as error:
        raise ApiUnreachableError(f"{response.url.path}: an answer this client cannot read; is it of the same release?") from error
