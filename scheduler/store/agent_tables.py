"""The tables of what cluster agents bring: who speaks for a cluster, and the logs of attempts."""

from sqlalchemy import ForeignKey, Text
from sqlalchemy.orm import Mapped, mapped_column

from scheduler.store.tables import Base, TenantOwned


class ClusterAgentRow(Base):
    """Which agent speaks for a cluster: it alone, as long as it goes on."""

    __tablename__ = "cluster_agents"
    cluster_id: Mapped[str] = mapped_column(ForeignKey("clusters.id"), primary_key=True)
    name: Mapped[str]


class LogRow(TenantOwned, Base):
    """A piece of an attempt's log, by byte offset."""

    __tablename__ = "log_chunks"
    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id"), primary_key=True)
    start: Mapped[int] = mapped_column(primary_key=True)
    size: Mapped[int]
    text: Mapped[str] = mapped_column(Text)
