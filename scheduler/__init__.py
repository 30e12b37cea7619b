"""Suanwang's foundation: what the words mean, who decides, what is stored, what it costs.

Read the rooms in this order; imports only ever point back up the list:

- `domain`     the words as types: hardware, money, states, reasons (pure)
- `contract`   what travels over HTTP between the city, its agents and its users (pure)
- `engine`     `engine.cycle.cycle(snapshot) -> decisions`: who gets which cards, and why not (pure)
- `subsidy`    `subsidy.tagging.evaluate(case, version) -> tags`: voucher programmes as data (pure)
- `billing`    `billing.metering.meter(...)`: card-seconds become exact, hash-chained cost lines (pure)
- `store`      the SQL system of record and the losable live inventory in Redis
- `service`    `service.dispatcher.Dispatcher.run()`: the loop that joins all of the above
- `replay`     `replay.driver.replay(trace)`: recorded traces through the same engine on virtual time
"""
