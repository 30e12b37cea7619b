"""The wire: every model that crosses HTTP between the city, its agents, its users and the ledger.

Enter at `job.JobSpec` (what a tenant submits), `sync` (how a cluster agent and the city agree), `inventory.NodeReport`
(what a node agent sees), `registry` (who takes part, at what price) and `cost.CostRecord` (what the ledger consumes).
Every model refuses unknown fields, and every size in them has a limit.
"""
