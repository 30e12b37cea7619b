"""The typed Python client of the city's API: `Client(url, token)`, one method a call, contract models in and out."""

from api.client.client import ApiProblemError, ApiUnreachableError, Client

__all__ = ["ApiProblemError", "ApiUnreachableError", "Client"]
