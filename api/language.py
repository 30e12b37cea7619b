"""Which language a person asked for."""

from typing import Annotated

from fastapi import Depends, Header

from scheduler.domain.reasons import Language


def _language(accept_language: Annotated[str, Header(max_length=200)] = "en") -> Language:
    return "zh" if accept_language.lower().startswith("zh") else "en"


Lang = Annotated[Language, Depends(_language)]
