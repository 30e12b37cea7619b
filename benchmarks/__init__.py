"""How fast the engine is, measured: `python -m benchmarks` (or `make bench`) runs the workloads and keeps what it found.

Enter at `__main__.main`, or at `openb.main` for how full a network gets by a published protocol. Every result is a file
`results/<name>.json` with the command that made it and the machine it ran on.
"""
