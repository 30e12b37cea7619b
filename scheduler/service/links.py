"""The links between clusters as they were declared last."""

from collections.abc import Iterable, Mapping

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from scheduler.contract.links import Link
from scheduler.domain.money import parse_cny
from scheduler.engine.staging import Data
from scheduler.store.tables import LinkRow

Links = Mapping[tuple[str, str], Link]
"""By the two clusters; of ways that are not there nothing is known."""


def link_rows(session: Session) -> Iterable[LinkRow]:
    """The latest declaration of every way that has a bandwidth, by its two clusters."""
    latest = select(func.max(LinkRow.id)).group_by(LinkRow.source_id, LinkRow.target_id)
    rows = session.scalars(select(LinkRow).where(LinkRow.id.in_(latest)).order_by(LinkRow.source_id, LinkRow.target_id))
    return (row for row in rows if link_of(row).mbps)


def link_of(row: LinkRow) -> Link:
    return Link.model_validate(row.body)


def load_links(session: Session) -> Links:
    return {(row.source_id, row.target_id): link_of(row) for row in link_rows(session)}


def staging_cost(links: Links, data: Iterable[Data], cluster: str) -> int | None:
    """What the links charge for bringing a job's data to a cluster, micro-CNY; None where one of them has no price."""
    total = 0
    for each in data:
        if each.cluster == cluster:
            continue
        link = links.get((each.cluster, cluster))
        if link is None or link.price_per_gib is None:
            return None
        total += each.size_gib * parse_cny(link.price_per_gib)
    return total
