"""Cards through a vendor's command: found on the machine, run with fixed arguments, cut off at a deadline.

A vendor's file says which commands to look for and how to read what they print (`Read`), nothing else.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Timer
from typing import IO, cast

from agents.node.probes.probe import Device, Reading, Sensors
from scheduler.domain.hardware import Health

DEADLINE_SECONDS = 4.5
"""For all commands of one probe together; below the watch's own deadline, so that the tool is named and killed."""
MAX_PRINTED_BYTES = 4 * 2**20
PCI_DEVICES = Path("/sys/bus/pci/devices")


class ToolError(RuntimeError):
    """A vendor's command failed, printed too much or did not end in time."""


class Run:
    """Runs one tool within one deadline, in a private empty folder, `folder`, where it may leave files."""

    def __init__(self, path: str, folder: Path, ends: float) -> None:
        self.tool = Path(path).name
        self._path, self.folder, self._ends = path, folder, ends

    def __call__(self, *arguments: str) -> str:
        """What the tool prints, in the C locale. Raises ToolError."""
        name = " ".join((self.tool, *arguments))
        expired = Event()
        with subprocess.Popen(
            [self._path, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            env=os.environ | {"LC_ALL": "C", "LANG": "C"},
            start_new_session=True,
        ) as process:

            def cut_off() -> None:
                expired.set()
                _kill(process)

            timer = Timer(max(0.0, self._ends - time.monotonic()), cut_off)
            timer.start()
            try:
                printed = cast(IO[bytes], process.stdout).read(MAX_PRINTED_BYTES + 1)
                if len(printed) > MAX_PRINTED_BYTES:
                    _kill(process)
                    raise ToolError(f"{name} printed more than {MAX_PRINTED_BYTES} bytes")
                status = process.wait()
            finally:
                timer.cancel()
        text = printed.decode("utf-8", "replace")
        if expired.is_set():
            raise ToolError(f"{name} did not end in time and was killed")
        if status:
            raise ToolError(f"{name} ended with status {status}: {' '.join(text.split())[:200]}")
        return text


Read = Callable[[Run], Reading]
"""Reads the cards with one tool. Raises ToolError, or ValueError for what it cannot read."""


class ToolProbe:
    """A vendor's cards by its command. A card that was listed and no longer is, is reported as lost while the agent lives."""

    def __init__(
        self,
        name: str,
        commands: Sequence[str],
        read: Read,
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        pci_devices: Path = PCI_DEVICES,
    ) -> None:
        """`commands` in order of preference: names on PATH, or paths where vendors install them."""
        self.name = name
        self._commands, self._read = commands, read
        self._deadline_seconds, self._pci_devices = deadline_seconds, pci_devices
        self._listed: dict[str, Device] = {}

    def probe(self) -> Reading:
        tool = next(filter(None, map(shutil.which, self._commands)), None)
        if tool is None:
            return with_lost(self._listed, Reading())
        with TemporaryDirectory(prefix="suanwang-probe-") as folder:
            reading = self._read(Run(tool, Path(folder), time.monotonic() + self._deadline_seconds))
        return with_lost(self._listed, replace(reading, devices=tuple(self._placed(device) for device in reading.devices)))

    def _placed(self, device: Device) -> Device:
        """With the PCI vendor the kernel knows for its address, where its tool did not tell."""
        if device.pci_vendor_id or not device.pci_address:
            return device
        with suppress(OSError):
            vendor = (self._pci_devices / device.pci_address / "vendor").read_text("ascii").strip()
            return replace(device, pci_vendor_id=vendor.removeprefix("0x").lower())
        return device


def with_lost(listed: dict[str, Device], reading: Reading) -> Reading:
    """With the cards that are missing of those `listed` before, which are noted there with the new ones.

    They are lost, or merely not read where the reading says itself that it is not whole.
    """
    health, reason = (Health.DEGRADED, "not_read") if reading.error else (Health.LOST, "no_longer_listed")
    seen = {device.uuid: device for device in reading.devices}
    lost = [
        replace(device, sensors=Sensors(), health=health, health_reasons=(reason,))
        for uuid, device in listed.items()
        if uuid not in seen
    ]
    listed |= seen
    return replace(reading, devices=(*reading.devices, *lost))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The tool and whatever it started, as some are shell scripts around the real one."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
