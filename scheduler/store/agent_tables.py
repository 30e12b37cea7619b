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
    """How the log of one rank of an attempt stands."""

    __tablename__ = "logs"
    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id"), primary_key=True)
    rank: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    end_offset: Mapped[int]
    """The byte after the last that was printed, as far as is known."""
    complete: Mapped[bool]
    """Nothing comes any more."""


class LogPieceRow(TenantOwned, Base):
    """A piece of a log that is kept, by byte offset: whole characters."""

    __tablename__ = "log_pieces"
    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id"), primary_key=True)
    rank: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    start: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    size: Mapped[int]
    text: Mapped[str] = mapped_column(Text)
