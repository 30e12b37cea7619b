"""How property tests come by their examples.

By default at random, with what failed last tried first: whoever changes something runs `pytest`; `make fuzz` searches on and on.
`make test`, and so CI, takes Hypothesis's own profile `ci`: the same examples every time, so that nobody's change fails by luck.
In neither has an example a deadline: how long one takes says how busy the machine is.
"""

from hypothesis import settings

settings.register_profile("default", settings.get_profile("default"), deadline=None)
