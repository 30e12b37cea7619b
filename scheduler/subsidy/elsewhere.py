"""Public money for other things than a job's cost: loans, buildings, projects, rewards. Named here so that asking has an answer."""

from decimal import Decimal
from functools import cache
from importlib.resources import files

from pydantic import TypeAdapter

from scheduler.contract.base import Key, Text, Wire
from scheduler.contract.cost import TagStatus
from scheduler.subsidy.document import load_document
from scheduler.subsidy.programme import ProgrammeName
from scheduler.subsidy.tagging import Ruling


class Elsewhere(Wire):
    """A scheme that pays for something no cost line is; `version` is the year of the document that offers it."""

    programme: Key
    version: Key
    name: ProgrammeName
    pays_for: ProgrammeName
    source: Text

    @property
    def ruling(self) -> Ruling:
        """Its answer to every line: not in scope."""
        return Ruling(self.programme, self.version, TagStatus.NOT_IN_SCOPE, ("not_in_scope",), (), Decimal(0))


@cache
def routed_elsewhere() -> dict[str, Elsewhere]:
    """Every such scheme we know of, by the name a case may give it."""
    found = TypeAdapter(list[Elsewhere]).validate_python(
        load_document(files("scheduler.subsidy").joinpath("elsewhere.yaml").read_bytes())
    )
    return {scheme.programme: scheme for scheme in found}
