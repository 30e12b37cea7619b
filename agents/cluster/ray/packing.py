"""Packages as Ray spreads them over its nodes: zips, named by their content, so that the same files are uploaded once."""

import hashlib
import io
import zipfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PAYLOAD = Path(__file__).parent / "payload"
SHIPPED_AS = "suanwang_on_ray"
"""The payload's name on Ray's nodes, which no tenant's module has by accident."""
MAIN = f"from {SHIPPED_AS}.run import main\n\nmain()\n"
"""Makes `python3 FOLDER` run the unpacked payload."""

_EPOCH = (1980, 1, 1, 0, 0, 0)


def zipped(files: Iterable[tuple[str, bytes, bool]]) -> tuple[str, bytes]:
    """A package of files, each a path, its content and whether it may be executed; and its name."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data, executable in files:
            entry = zipfile.ZipInfo(path, _EPOCH)
            entry.external_attr = (0o100755 if executable else 0o100644) << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    content = packed.getvalue()
    return f"_ray_pkg_{hashlib.sha256(content).hexdigest()[:32]}.zip", content


@cache
def payload() -> tuple[str, bytes]:
    """The package of `agents.cluster.ray.payload`."""
    own = [(f"{SHIPPED_AS}/{path.name}", path.read_bytes(), False) for path in sorted(PAYLOAD.glob("*.py"))]
    return zipped([("__main__.py", MAIN.encode(), False), *own])
