"""The hardware catalogue in force: what each model of card is, of which class, and where that is known from."""

from fastapi import APIRouter

from api.auth import Anyone
from api.city import TheCity
from scheduler.contract.catalogue import CatalogueView, catalogue_view

router = APIRouter(prefix="/v1", tags=["inventory"])


@router.get("/catalogue")
def get_catalogue(city: TheCity, principal: Anyone) -> CatalogueView:  # noqa: ARG001 - any valid token may look
    """Every model the city knows, with its class, which decides money, and its figures, which do not; cards of other models have
    the class of their PCI vendor id, or none."""
    return catalogue_view(city.catalogue)
