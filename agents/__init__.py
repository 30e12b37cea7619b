"""The two agents: `agents.node` sees the accelerators of one machine, `agents.cluster` runs what the city grants a cluster.

Both speak to the city through `agents.city.City` and share nothing with it but `scheduler.domain` and `scheduler.contract`:
an agent's image has no SQL, no Redis and no scheduler in it. Enter at `agents.node.agent.run` and `agents.cluster.agent.run`.
"""
