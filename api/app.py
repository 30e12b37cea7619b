"""The HTTP API of a city, put together."""

from fastapi import FastAPI

from api import problems
from api.city import City
from api.limits import BodyLimit
from api.routers import clusters, costs, health, inventory, jobs, registry

VERSION = "1"


def create_app(city: City) -> FastAPI:
    """The application over a city's stores. It holds no state of its own: any number may run side by side."""
    app = FastAPI(title="Suanwang", version=VERSION, description="City-level dispatcher for accelerators (算网).")
    app.state.city = city
    app.add_middleware(BodyLimit)
    problems.install(app)
    for noun in (jobs, inventory, registry, clusters, costs, health):
        app.include_router(noun.router)
    return app
