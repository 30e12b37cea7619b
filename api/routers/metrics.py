"""`/metrics` in Prometheus's text format, for this process. The dispatcher is another process with its own (`--metrics-port`)."""

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from api.auth import Staff

router = APIRouter(tags=["health"])


@router.get("/metrics", response_class=PlainTextResponse)
def get_metrics(request: Request, _: Staff) -> PlainTextResponse:
    """Requests this process has answered, by route, method and status; scrape it with a bearer token."""
    registry: CollectorRegistry = request.app.state.metrics
    return PlainTextResponse(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)
