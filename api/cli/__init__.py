"""The `suanwang` command, and the embedded city: the one room that may import everything.

Enter at `main.main`. `servers` runs one part of a city (the API, the dispatcher), `embedded.EmbeddedCity` starts all parts on one
machine, `demo` walks a whole city through its main job, and the rest are a user's, an operator's and the ledger's commands.
"""
