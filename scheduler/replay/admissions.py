"""Where the admissions of a run are kept: nowhere, or durably in a database before they count."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, MetaData, String, Table, func, insert, select

from scheduler.store.database import Database


@dataclass(frozen=True, slots=True)
class Admission:
    """A job was given its place at `decided_at`, in microseconds since the run began. `attempt` counts from 1."""

    job: str
    attempt: int
    queue: str
    cluster: str
    nodes: int
    decided_at: int


class Admissions(Protocol):
    """Keeps what a round admitted."""

    def commit(self, admissions: Sequence[Admission]) -> None:
        """Keep them all or none; when this returns they are kept."""
        ...


class Forgotten:
    """Keeps nothing: for runs that measure the engine alone."""

    def commit(self, admissions: Sequence[Admission]) -> None:
        pass


_METADATA = MetaData()

_RUNS = Table("replay_runs", _METADATA, Column("run", Integer, primary_key=True))

_TABLE = Table(
    "replay_admissions",
    _METADATA,
    Column("run", ForeignKey(_RUNS.c.run), primary_key=True),
    Column("job", String(300), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("queue", String(300), nullable=False),
    Column("cluster", String(300), nullable=False),
    Column("nodes", Integer, nullable=False),
    Column("decided_at", BigInteger, nullable=False),
)


class Recorded:
    """Tables of replays only, made where they are missing; one transaction a round. SQLite: synchronous=FULL, one fsync each."""

    def __init__(self, database: Database) -> None:
        """Starts a run with a number of its own. Raises sqlalchemy's errors where the database is not to be had."""
        self._database = database
        with database.writer.begin() as connection:
            _METADATA.create_all(connection)
            self._run: int = connection.execute(insert(_RUNS).returning(_RUNS.c.run)).scalar_one()

    def commit(self, admissions: Sequence[Admission]) -> None:
        rows = [{"run": self._run, **asdict(admission)} for admission in admissions]
        with self._database.writer.begin() as connection:
            connection.execute(insert(_TABLE), rows)

    def kept(self) -> int:
        """How many admissions of this run the database has, as it says itself."""
        with self._database.engine.connect() as connection:
            return connection.execute(select(func.count()).where(_TABLE.c.run == self._run)).scalar_one()
