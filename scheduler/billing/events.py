"""Cost records as CloudEvents 1.0.2: who says it, what it is about, and the record itself, to the byte as it was hashed.

An event's id is its record's, so what is sent again is the same event: `source` and `id` together are what a consumer keeps apart
by. A correction is a record of its own, and so an event of its own.
"""

import json
import sys
from typing import Any

import orjson

from scheduler.billing.journal import Row, canonical
from scheduler.contract.cost import CostRecord

EVENT_TYPE = "cn.suanwang.cost.record.v1"
"""Changes when a field of a record is taken away or means something else; a new field changes nothing for old readers."""

SCHEMA_PATH = "/v1/schemas/cost-record.v1.json"
"""Where a city serves the JSON Schema of an event's data."""

_SEQUENCE_DIGITS = 12
"""Leading zeros make the `sequence` extension sort as text, as CloudEvents wants of it."""


def cost_event(row: Row, source: str) -> str:
    """The event of a stored record in the JSON event format. `source` is the city's absolute URL without a slash at its end.

    Beside the attributes of CloudEvents it has the extensions `sequence`, `previoushash` and `hash`: with these a reader can follow
    the chain without reading the data.
    """
    record = orjson.loads(row.payload)
    attributes = {
        "specversion": "1.0",
        "id": record["id"],
        "source": source,
        "type": EVENT_TYPE,
        "subject": _subject(row),
        "time": record["posted_at"],
        "datacontenttype": "application/json",
        "dataschema": f"{source}{SCHEMA_PATH}",
        "sequence": f"{row.sequence:0{_SEQUENCE_DIGITS}d}",
        "previoushash": record["previous_hash"],
        "hash": row.hash,
    }
    return f'{canonical(attributes)[:-1]},"data":{row.served()}}}'


def _subject(row: Row) -> str:
    """What a record is about: its job, else the contract it falls under, else its tenant."""
    if row.job is not None:
        return f"jobs/{row.job}"
    return f"tenants/{row.tenant}" if row.contract is None else f"contracts/{row.contract}"


def record_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a record as readers get it. Fields it does not name are allowed: there may be more one day."""
    schema = CostRecord.model_json_schema(mode="validation")
    for part in (schema, *schema["$defs"].values()):
        part.pop("additionalProperties", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_PATH, **schema}


def schema_text() -> str:
    """The schema as the repository keeps it: `python -m scheduler.billing.events > docs/schema/cost-record.v1.json`."""
    return json.dumps(record_schema(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.buffer.write(schema_text().encode())
