"""The cluster agent: runs in one cluster what the city grants it, and tells the city the truth about it.

Enter at `agent.run`: ask the launcher what runs (`launcher.Launcher.observe`), tell the city, compare what it desires with
what is there (`reconcile.plan`, pure), act, hand over logs, wait, say it all again. Nothing is remembered that the cluster
does not know itself, so either side may restart at any moment.

A way to run programs is one file in `launchers/`: `ray` (an existing Ray, or one that `local_ray` starts on this machine)
and `recorded` (plays back a site described in a file). `command.cluster` is `suanwang agent cluster`.
"""
