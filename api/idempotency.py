"""`Idempotency-Key`: the same key and body give the first answer again; the same key with another body is refused.

The key is stored in the transaction of its effect, so there is no moment in which one exists without the other.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.auth import Principal
from api.city import City
from api.problems import ProblemError
from scheduler.store.database import Scope
from scheduler.store.tables import IdempotencyRow

Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$")]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One keyed (or unkeyed) request: `request_sha256` covers method, path and body."""

    key: str | None
    request_sha256: str


async def _attempt(request: Request, key: Key = None) -> Attempt:
    body = await request.body()
    return Attempt(key, hashlib.sha256(b" ".join((request.method.encode(), request.url.path.encode(), body))).hexdigest())


Keyed = Annotated[Attempt, Depends(_attempt)]

Effect = Callable[[Session], tuple[int, BaseModel]]
"""Does the work in a transaction and says status and answer."""


def once(city: City, principal: Principal, attempt: Attempt, effect: Effect, scope: Scope | None = None) -> JSONResponse:
    """Run `effect` in one transaction of the caller's scope, or give the answer it gave before. With another `scope` it is for
    `effect` to ask what is the caller's."""
    scope = scope or principal.scope
    try:
        return _once(city, principal, attempt, effect, scope)
    except IntegrityError:
        return _once(city, principal, attempt, effect, scope)  # a twin of this request committed between our look and our write


def _once(city: City, principal: Principal, attempt: Attempt, effect: Effect, scope: Scope) -> JSONResponse:
    with city.database.write(scope) as session:
        if attempt.key is not None:
            earlier = session.get(IdempotencyRow, (principal.token, attempt.key))
            if earlier is not None:
                if earlier.request_sha256 != attempt.request_sha256:
                    raise ProblemError("idempotency_key_reused")
                return JSONResponse(earlier.answer, earlier.status)
        status, model = effect(session)
        answer = model.model_dump(mode="json", by_alias=True)
        if attempt.key is not None:
            session.add(
                IdempotencyRow(
                    principal=principal.token,
                    key=attempt.key,
                    request_sha256=attempt.request_sha256,
                    status=status,
                    answer=answer,
                    created_at=city.clock(),
                )
            )
    return JSONResponse(answer, status)
