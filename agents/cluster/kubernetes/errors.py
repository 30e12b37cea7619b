"""What a Kubernetes API may answer instead of what was asked: each answer that calls for something else is a type of its own.

Messages name the call and what the API said of it, at most MESSAGE_CHARACTERS of it, never a header, a token or a body of ours.
"""

import json
import re
from dataclasses import dataclass
from typing import Self

from agents.cluster.launcher import LauncherUnavailableError

MESSAGE_CHARACTERS = 300

_NOT_AUTHORISED = re.compile(r'User ".*" cannot ')
"""How every authoriser's refusal reads (apiserver, `forbiddenMessage`); a quota's or a webhook's 403 has its own words."""


class KubernetesError(Exception):
    """The API refused one call. `status` is HTTP's, `reason` the API's word for it (`AlreadyExists`), empty where it has none."""

    def __init__(self, message: str, *, status: int, reason: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class NotFoundError(KubernetesError):
    """404. With a `reason` the object does not exist; without one the API knows no such kind: what defines it is not installed."""


class AlreadyExistsError(KubernetesError):
    """409 to a create: an object of that name is there."""


class ConflictError(KubernetesError):
    """409 otherwise: the object is no longer the version that was to be changed, or is being deleted. Read it again."""


class ExpiredError(KubernetesError):
    """410: the version or the page asked for is no longer kept. List again from the beginning."""


class RefusedError(KubernetesError):
    """The API does not take what was sent (400, 413, 415, 422), or a quota or an admission rule does not (403)."""


class ForbiddenError(LauncherUnavailableError):
    """403 by authorisation: the agent's service account lacks a permission, which the message names. An operator must add it."""


class UnauthorisedError(LauncherUnavailableError):
    """401, also after the credentials were read again. The message says where they come from."""


@dataclass(frozen=True, slots=True)
class Status:
    """The API's own account of a failure: its `Status` object as far as it matters here."""

    reason: str
    message: str

    @classmethod
    def read(cls, body: bytes) -> Self:
        """From an answer's body, which may be anything: a proxy in between answers with pages of its own."""
        try:
            found = json.loads(body)
        except ValueError:
            found = None
        return cls.of(found) if isinstance(found, dict) else cls("", body.decode("utf-8", "replace"))

    @classmethod
    def of(cls, found: dict[str, object]) -> Self:
        return cls(str(found.get("reason") or ""), str(found.get("message") or ""))

    def said(self) -> str:
        """What it says in one line of bounded length."""
        return " ".join(self.message.split())[:MESSAGE_CHARACTERS] or self.reason or "it says no more"


def error_of(call: str, status: int, found: Status) -> Exception:
    """The error for an answer of `status` to `call` (`create jobs.batch/x in ns`)."""
    message = f"{call}: {found.said()} ({status})"
    match status, found.reason:
        case 404, _:
            return NotFoundError(message, status=status, reason=found.reason)
        case 409, "AlreadyExists":
            return AlreadyExistsError(message, status=status, reason=found.reason)
        case 409, _:
            return ConflictError(message, status=status, reason=found.reason)
        case 410, _:
            return ExpiredError(message, status=status, reason=found.reason)
        case 403, _ if _NOT_AUTHORISED.search(found.message):
            return ForbiddenError(f"this agent may not {call}: give its service account that verb in a Role or ClusterRole (403)")
        case ((400 | 403 | 405 | 413 | 415 | 422), _):
            return RefusedError(message, status=status, reason=found.reason)
        case _:
            return LauncherUnavailableError(message)
