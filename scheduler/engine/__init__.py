"""Who gets which cards: a pure function from a snapshot to decisions, the same in the live service and in replay.

Enter at `cycle.cycle(snapshot) -> Decisions`. One round, in the words of the modules it uses:

1. `backlog`  the queue in lines of alike jobs, served by priority, then weighted dominant share, then age (`order`);
2. `offers`   every cluster and model where the whole gang fits, proven node by node (`room`, `place`, `fleet`, `shape`), within
              the quota of its queue (`quota`), at a price, on the nodes where it wastes least (`packing`, `cutting`);
3. `decide`   of those the one that the job's profile prefers (`choice`, `staging`), in a cluster that takes it (`intake`), is
              granted and deducted at once (`round`);
4. `preempt`  where nothing fits, the lower-priority gangs whose stopping loses the fewest card-seconds;
5. `reserve`  a blocked job is promised a time and a place that those behind it must not delay (backfill);
6. `explain`  for every job that got nothing: wait or never, with the numbers behind it.

Where runs may be stopped for others of their priority, `reschedule` puts them back beside the queue, serves all anew by
`precedence` and carries out the difference; `durations` learns how long jobs take that do not say so.

`state.State` keeps all of this from round to round, so that a round costs what has changed and not what there is.

Beside the round, for gangs whose scaling curve is known: `widths.decide` admits deadlines and says how wide each runs (`plan`), and
`blocks.place` proves it card by card.

Nothing here reads a clock, a database or a random number. Times are integer microseconds since the epoch.
"""
