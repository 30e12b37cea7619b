"""Recorded and generated traces and workloads through the real engine.

Enter at `driver.replay(trace) -> Outcome` or `workload_driver.run(workload, ...) -> WorkloadOutcome`. One replay of
a trace, in the words of the modules it uses:

1. `trace`     what a replay needs: the nodes, and jobs that arrive and leave at known moments;
2. `openb`     such a trace from the CSV files of Alibaba's GPU cluster trace (read whole or refused with the row that is broken);
   `arrivals`  the same in a given order of arrival, nothing leaving, as its authors measured fragmentation;
   `generate`  or one of our own, drawn from a seed, where there is no recorded one;
3. `driver`    one queue of events on virtual time; after each moment that changed something, `engine.cycle.cycle` decides;
4. `report`    the outcome and what the run took, as the JSON object of `suanwang replay --json`.

A workload is the other kind of input: its jobs leave a while after they were started, so the scheduler decides how long it takes.

1. `formats`          Kueue's generator files unchanged (`kueue`) or our own format (`city`), read strictly (`document`);
2. `workload`         what they come to: queues with quotas, nodes, streams of jobs, and how fast it could go at best;
3. `workload_driver`  arrivals and ends on a `clock`, virtual or real, the same rounds, with quotas;
4. `admissions`       each committed to a database before it counts, if asked;
5. `workload_report`  the same JSON object, and what only a workload has.

Jobs that need a time of service and can be interrupted are the third: `service.serve(trace, policy)`.

1. `muri`, `philly`   such traces from the CSV files as published (read by `table`);
2. `policy`           in which order, by which discipline, and what the scheduler is told of durations;
3. `service`          arrivals, stops and ends on virtual time, decided by `engine.reschedule` or `engine.cycle`;
4. `service_report`   the same JSON object, and what a policy and virtual clusters add.

Nothing here reads a clock of its own: the caller hands one in, measures the wall time and hands it to the report.
"""
