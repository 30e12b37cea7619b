"""Recorded and generated traces through the real engine, on virtual time.

Enter at `driver.replay(trace) -> Outcome`. One replay, in the words of the modules it uses:

1. `trace`     what a replay needs: the nodes, and jobs that arrive and leave at known moments;
2. `openb`     such a trace from the CSV files of Alibaba's GPU cluster trace (read whole or refused with the row that is broken);
   `arrivals`  the same in a given order of arrival, nothing leaving, as its authors measured fragmentation;
   `generate`  or one of our own, drawn from a seed, where there is no recorded one;
3. `driver`    one queue of events on virtual time; after each moment that changed something, `engine.cycle.cycle` decides;
4. `report`    the outcome and what the run took, as the JSON object of `suanwang replay --json`.

Nothing here reads a clock: the caller measures the wall time and hands it to `report`.
"""
