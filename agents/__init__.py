"""The two agents: `agents.node` sees the accelerators of one machine, `agents.cluster` runs what the city grants a cluster.

The cluster agent speaks to the city through `agents.city.City`, the node agent, which has to be light, by `agents.node.reporter`;
what both wait for and stumble over is `agents.terms`. They share nothing with it but `scheduler.domain` and `scheduler.contract`:
an agent's image has no SQL, no Redis and no scheduler in it. Enter at `agents.node.agent.run` and `agents.cluster.agent.run`.
"""
