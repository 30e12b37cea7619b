"""How a long-running process here is asked to stop: SIGTERM or SIGINT sets an event, and a second one ends it at once."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread


@contextmanager
def stop_on_signals(wake: Event | None = None) -> Iterator[Event]:
    """The event, while the handlers are in place; those from before come back at the end. `wake` is set after it, for a loop that
    waits on that instead."""
    stop = Event()

    def end() -> None:
        stop.set()
        if wake is not None:
            wake.set()

    def ask(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        # Set from another thread: this one may be inside `stop.wait`, holding the lock that `set` needs.
        Thread(target=end, daemon=True).start()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
