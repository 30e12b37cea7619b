"""Runs on Ray's nodes, where Suanwang is not installed: standard library and ray only, and no newer Python than 3.9 needed.

Whoever starts `run` learns from its output what became of it, one line each:
- `suanwang: ATTEMPT {"nodes": [...]}`: the Ray nodes of a gang's ranks, in their order;
- `suanwang: ATTEMPT {"began": T}`: every rank's program runs, since T (seconds since the epoch, by the clock of rank 0's node);
- `suanwang: ATTEMPT {"ended": {...}}`: how it ended. Keys: `exit_code` (128 + signal for one that a signal ended), `rank` and
  `node` of the first failure, `cause` where it is not the program's own (a value of `scheduler.contract.sync.Cause`), `detail`.
"""

OUT_OF_MEMORY_MARKS = ("NODE_OUT_OF_MEMORY", "low on memory", "OutOfMemoryError")
"""How Ray says, in the text of a failure, that its memory monitor killed a worker."""
