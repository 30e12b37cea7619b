"""The facts that decided tags, for whoever wants to compute them again."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from api.auth import LedgerOrFinance
from api.city import TheCity
from api.problems import ProblemError
from scheduler.store.tables import CostContextRow

router = APIRouter(prefix="/v1/cost-contexts", tags=["costs"])


@router.get("/{sha256}", response_class=Response, responses={200: {"content": {"application/json": {}}}})
def get_context(
    sha256: Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="the `context` of a cost record")],
    city: TheCity,
    principal: LedgerOrFinance,
) -> Response:
    """The facts that decided the tags of the records that name them, as the text that was hashed."""
    with city.database.read(principal.scope) as session:
        row = session.get(CostContextRow, sha256)
    if row is None:
        raise ProblemError("not_found", noun="context", id=sha256)
    return Response(row.body, media_type="application/json")
