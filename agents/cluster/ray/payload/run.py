"""The payload's command: `rank SPEC` or `gang SPEC`, the spec in JSON (`agents.cluster.launchers.ray` writes it)."""

import json
import sys


def main() -> None:
    what, spec = sys.argv[1], json.loads(sys.argv[2])
    if what == "rank":
        from .rank import main as run
    else:
        from .gang import main as run  # ray is imported only where it is needed: it takes half a second
    sys.exit(run(spec))
