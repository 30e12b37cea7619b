"""The node agent: sees the accelerators of one machine and tells the city, again and again.

Enter at `agent.run`, the loop, or `agent.once`, one report. The story in order:

- `probes/`      one file per vendor behind one small interface (`probes.probe.Probe`); `probes.shipped()` lists them.
                 `probes/tool.py` runs a vendor's command, `probes/child.py` keeps a vendor's library in a process of its own,
                 `probes/preferred.py` asks the library first and the command where that fails
- `watch.py`     runs every probe side by side, each cut off at a deadline
- `collect.py`   probes' readings + the host + the catalogue -> one report, within the contract's `bounds.py`
- `agent.py`     reports it at the pace the city asks for, and backs off when the city is away (`reporter.py`)
- `command.py`   `suanwang agent node`: checks what was typed, and becomes `loop.py`, a process without a command line, wire models
                 or any HTTP library but the standard one: it is on every node, and weighs little

A new vendor is one file in `probes/`, its name in `probes.shipped()` and one fixture in `tests/agents/node/fixtures/`.
"""
