"""How far apart cards may be: levels of the network's topology, narrowest first, numbered so that they can be compared.

A link domain is what NVLink, HCCS or the like joins: an island of cards within a node, or a supernode of many nodes (NVL72,
CloudMatrix). Operators name racks, spines and supernodes by the node labels `rack`, `spine` and `link_domain`.
"""

Level = int

LINK_DOMAIN, RACK, SPINE, CLUSTER = range(4)

LEVEL_NAMES = ("link_domain", "rack", "spine", "cluster")
"""Of each level, as job specs, node labels and reasons have it."""
