"""Who gets which cards: a pure function from a snapshot to decisions, the same in the live service and in replay.

Enter at `cycle.cycle(snapshot) -> Decisions`. One round, in the words of the modules it uses:

1. `order`    the queue, by priority, then weighted dominant share, then age;
2. `place`    for each job, every cluster and model where the whole gang fits, proven node by node (`fleet`, `shape`), on the
              nodes that waste the least of what is asked for (`packing`, `cutting`), where that is known;
3. `cycle`    the cheapest of those after voucher is granted and its cards are deducted at once;
4. `preempt`  where nothing fits, the lower-priority gangs whose stopping loses the fewest card-seconds;
5. `explain`  for every job that got nothing: wait or never, with the numbers behind it.

Nothing here reads a clock, a database or a random number. Times are integer microseconds since the epoch.
"""
