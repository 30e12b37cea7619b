"""What goes to a programme's office with an application (申领材料包): a ZIP of what is claimed, why, and on what evidence.

The same records and documents make the same bytes: files in order of their names, every time the first of 1980, nothing of when or
where it was made. Records are read anew for each file that lists them, so a pack of any size is written in little memory.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from io import StringIO
from itertools import chain
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from scheduler.billing.journal import canonical
from scheduler.billing.plain_text import inert
from scheduler.domain.clock import CHINA
from scheduler.domain.money import format_cny, parse_cny
from scheduler.domain.reasons import Language

MANIFEST = "MANIFEST.sha256"
"""One line a file, as `sha256sum --check` reads it."""

_MOMENT = (1980, 1, 1, 0, 0, 0)
_READABLE = 0o644 << 16
_BOM = "\ufeff"
"""So that a spreadsheet takes a CSV file for UTF-8."""

_README = """\
申领材料包 / Claim pack

summary.json     申领概要:主体、合同、项目、金额合计、账本位置 / what is claimed, by whom, the sums, and where in the journal
contracts.json   登记的服务合同 / the contracts as registered
parties.json     登记的申请主体与算力提供方 / the applicant and the providers as registered
lines.csv        费用行、补贴判定及其规则(中英文) / the lines, each with its tag and the rule that decided it
evidence.csv     用量凭证:设备、节点、时段、秒数、哈希 / usage: devices, nodes, periods, seconds, hashes
records.ndjson   原始记录:hash 为其余字段规范 JSON 的 SHA-256 / the records; `hash` is the SHA-256 of the rest
facts/           判定所依据的事实,以其 SHA-256 命名 / the facts the tags rest on, each named by its SHA-256
policies/        政策版本原文数据 / the policy versions as loaded
rules.csv        各版本的规则、依据原文与来源 / every rule of these versions, the words it rests on and their source
MANIFEST.sha256  每个文件的 SHA-256:sha256sum --check MANIFEST.sha256 / the SHA-256 of every file

金额为人民币元;补贴为估算,由主管部门核定。Amounts are CNY. Vouchers are estimates: the programme's office decides.
"""

_LINES = (
    *(
        "sequence",
        "record",
        "kind",
        "period_start",
        "period_end",
        "claim_year",
        "contract",
        "provider",
        "job",
        "attempt",
        "cluster",
    ),
    *("item", "activity", "hardware_class", "vendor", "model", "unit_seconds", "list_amount", "contracted_amount"),
    *("programme", "version", "status", "claimed", "base", "rate", "uncapped", "capped"),
    *("reason_codes", "reasons_zh", "reasons_en", "missing_facts", "facts_sha256", "hash"),
)
_EVIDENCE = (
    *("sequence", "record", "kind", "reverses", "replaces", "job", "attempt", "attempt_number", "cluster", "recorded"),
    *("nodes", "devices", "model", "catalogue_version", "period_start", "period_end", "unit_seconds", "card_seconds"),
    *("preempted_seconds", "retried_seconds", "gap_seconds", "price_version", "posted_at", "previous_hash", "hash"),
)
_RULES = ("programme", "version", "part", "code", "text_zh", "text_en", "rule", "words", "source", "confidence")

Record = Mapping[str, Any]
Reader = Callable[[], Iterable[Record]]
"""The records of a claim, in order, as often as it is called; each of them has a tag of the programme that is claimed."""


@dataclass(frozen=True, slots=True)
class Documents:
    """What a claim rests on besides its records. `applied` says which programme is claimed for the records of some facts."""

    claim: Mapping[str, Any]
    """What was asked for, and up to where the journal was read."""
    contracts: Sequence[Mapping[str, Any]]
    tenants: Sequence[Mapping[str, Any]]
    providers: Sequence[Mapping[str, Any]]
    facts: Mapping[str, str]
    """By SHA-256: the text that was hashed."""
    policies: Sequence[Mapping[str, Any]]
    texts: Mapping[str, Mapping[Language, str]]
    """Reason codes in zh and en."""
    programme_of: Callable[[Record], str | None]


def claimed_tag(record: Record, programme: str | None) -> Mapping[str, Any] | None:
    """A record's answer from a programme, if it has one."""
    return next((tag for tag in record["eligibility"] if tag["programme"] == programme), None)


def claim_year(record: Record) -> int:
    """The Chinese calendar year a record is claimed in."""
    return datetime.fromisoformat(record["period_start"]).astimezone(CHINA).year


def write_claim_pack(out: IO[bytes], documents: Documents, records: Reader) -> None:
    """Write a pack into a file that can be written from its start."""
    files: dict[str, Callable[[], Iterable[str]]] = {
        "README.txt": lambda: [_README],
        "contracts.json": lambda: [_json(documents.contracts)],
        "evidence.csv": lambda: _csv(_EVIDENCE, map(_evidence, records())),
        "lines.csv": lambda: _csv(_LINES, (_line(record, documents) for record in records())),
        "parties.json": lambda: [_json({"applicant": documents.tenants, "providers": documents.providers})],
        "records.ndjson": lambda: map(_served, records()),
        "rules.csv": lambda: _csv(_RULES, _rules(documents)),
        "summary.json": lambda: [_json(_summary(documents, records()))],
    }
    for key, body in documents.facts.items():
        files[f"facts/{key}.json"] = lambda body=body: [body]  # type: ignore[misc]
    for policy in documents.policies:
        files[f"policies/{policy['programme']}-{policy['version']}.json"] = lambda policy=policy: [_json(policy)]  # type: ignore[misc]
    with ZipFile(out, "w") as archive:
        sums = [f"{_add(archive, name, files[name]())}  {name}\n" for name in sorted(files)]
        _add(archive, MANIFEST, sums)


def _add(archive: ZipFile, name: str, texts: Iterable[str]) -> str:
    """Write one file of an archive. Returns its SHA-256."""
    info = ZipInfo(name, _MOMENT)
    info.compress_type, info.external_attr, info.create_system = ZIP_DEFLATED, _READABLE, 3
    digest = sha256()
    with archive.open(info, "w", force_zip64=True) as file:
        for text in texts:
            chunk = text.encode()
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _json(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def _csv(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    yield _BOM
    for row in chain([headings], rows):
        line = StringIO()
        csv.writer(line).writerow([inert(value) if isinstance(value, str) and not _is_number(value) else value for value in row])
        yield line.getvalue()


def _is_number(text: str) -> bool:
    return text.removeprefix("-").replace(".", "", 1).isdecimal()


def _served(record: Record) -> str:
    """The record as the feed serves it: the text that was hashed, with the hash at its end."""
    text = canonical({key: value for key, value in record.items() if key != "hash"})
    return f'{text[:-1]},"hash":"{record["hash"]}"}}\n'


def _line(record: Record, documents: Documents) -> Sequence[Any]:
    tag = claimed_tag(record, documents.programme_of(record)) or {}
    codes = tag.get("reason_codes", ())
    said = {**record, **tag, "record": record["id"], "claim_year": claim_year(record), "facts_sha256": record["context"]}
    said["claimed"] = "yes" if tag.get("selected") else "no"
    said["reason_codes"] = ";".join(codes)
    said["reasons_zh"] = ";".join(_text(documents, code, "zh") for code in codes)
    said["reasons_en"] = "; ".join(_text(documents, code, "en") for code in codes)
    said["missing_facts"] = ";".join(tag.get("missing", ()))
    return [said[name] for name in _LINES]


def _text(documents: Documents, code: str, language: Language) -> str:
    """The text of a code; a code this release no longer has stands for itself."""
    return documents.texts[code][language] if code in documents.texts else code


def _evidence(record: Record) -> Sequence[Any]:
    said = {**record, "record": record["id"], "recorded": "yes" if record["recorded"] else "no"}
    said["nodes"], said["devices"] = ";".join(record["nodes"]), ";".join(record["devices"])
    return [said[name] for name in _EVIDENCE]


def _rules(documents: Documents) -> Iterator[Sequence[Any]]:
    for policy in documents.policies:
        for part in ("requires", "rates", "cap", "pool"):
            found = policy.get(part) or []
            for rule in found if isinstance(found, list) else [found]:
                yield _rule(documents, policy, part, rule)


def _rule(documents: Documents, policy: Mapping[str, Any], part: str, rule: Mapping[str, Any]) -> Sequence[Any]:
    code, source = rule.get("code", ""), policy.get("sources", {}).get(rule.get("source"), {})
    said = ("code", "text", "source", "confidence")
    what = json.dumps({key: value for key, value in rule.items() if key not in said}, ensure_ascii=False, sort_keys=True)
    texts = (_text(documents, code, "zh"), _text(documents, code, "en"))
    words = (rule.get("text", ""), source.get("title", ""), rule.get("confidence", ""))
    return [policy["programme"], policy["version"], part, code, *texts, what, *words]


def _summary(documents: Documents, records: Iterable[Record]) -> Mapping[str, Any]:
    """What is claimed by year and status, and what is not. Sums are of exactly the lines of lines.csv."""
    sums: dict[tuple[str, str, str, str], dict[str, int]] = {}
    first: int | None = None
    last, count, digest = None, 0, sha256()
    for record in records:
        tag = claimed_tag(record, documents.programme_of(record))
        if tag is None:
            continue
        key = (tag["programme"], str(claim_year(record)), tag["status"], "claimed" if tag["selected"] else "not claimed")
        amounts = sums.setdefault(key, {"records": 0, "contracted": 0, "base": 0, "uncapped": 0, "capped": 0})
        amounts["records"] += 1
        amounts["contracted"] += parse_cny(record["contracted_amount"])
        for name in ("base", "uncapped", "capped"):
            amounts[name] += parse_cny(tag[name])
        first, last, count = record["sequence"] if first is None else first, record["sequence"], count + 1
        digest.update(record["hash"].encode())
    rows = [
        {
            **dict(zip(("programme", "claim_year", "status", "selection"), key, strict=True)),
            **{name: value if name == "records" else format_cny(value) for name, value in amounts.items()},
        }
        for key, amounts in sorted(sums.items())
    ]
    extent = {"first_sequence": first, "last_sequence": last, "records": count, "records_sha256": digest.hexdigest()}
    return {"claim": documents.claim, "sums": rows, "journal": extent}
