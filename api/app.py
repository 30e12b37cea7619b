"""The HTTP API of a city, put together."""

from fastapi import FastAPI
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry

from api import problems
from api.city import City
from api.gate import Gate
from api.limits import BodyLimit
from api.metrics import RequestMetrics
from api.routers import (
    answers,
    budgets,
    catalogue,
    clusters,
    contexts,
    costs,
    expenses,
    health,
    inventory,
    jobs,
    links,
    logs,
    metrics,
    prices,
    queues,
    registry,
    scheduling,
    settlements,
    statements,
    windows,
)

VERSION = "1"


def create_app(city: City) -> FastAPI:
    """The application over a city's stores. It holds no state of its own: any number may run side by side."""
    app = build_app()
    app.state.city = city
    return app


def build_app() -> FastAPI:
    """The routes, limits and error handlers, which need no store: it serves once `state.city` is set.

    It describes itself in `docs/openapi.json` and not over HTTP: nothing but the probes answers without a token.
    """
    app = FastAPI(
        title="Suanwang",
        version=VERSION,
        description="City-level dispatcher for accelerators (算网).",
        openapi_url=None,
        generate_unique_id_function=_operation_id,
    )
    app.state.metrics = CollectorRegistry()
    app.state.report_gate = Gate()
    app.add_middleware(BodyLimit)
    app.add_middleware(RequestMetrics, registry=app.state.metrics)
    problems.install(app)
    for noun in (
        jobs,
        logs,
        answers,
        inventory,
        catalogue,
        registry,
        prices,
        budgets,
        links,
        queues,
        scheduling,
        statements,
        windows,
        clusters,
        costs,
        contexts,
        expenses,
        settlements,
        health,
        metrics,
    ):
        app.include_router(noun.router)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name
