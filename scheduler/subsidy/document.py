"""Cases and policies as YAML text.

Plain PyYAML follows YAML 1.1, where the key `on` of a case is the boolean True, and lets a repeated key silently replace the
first. Here only true and false are booleans, as in YAML 1.2, and a repeated key is refused.
"""

import re
from collections.abc import Hashable
from typing import Any

import yaml

from scheduler.domain.faults import Fault


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_BOOL = "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile(r"true|false"), list("tf"))


def load_document(content: bytes | str) -> Any:
    """What a YAML text says. Raises Fault saying where it is not YAML."""
    try:
        return yaml.load(content, _Loader)  # noqa: S506 (a subclass of SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Fault("not_a_document", what=" ".join(str(error).split())) from None
