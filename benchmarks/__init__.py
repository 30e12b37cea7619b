"""How fast the engine is, measured: `python -m benchmarks` (or `make bench`) runs the workloads and keeps what it found.

Enter at `__main__.main`. Every result is a file `results/<name>.json` with the command that made it and the machine it ran on.
"""
