"""This machine, through the same agent as a board."""

from __future__ import annotations

import os
import sys

from edgecomp.devices.connection import Connection, ProcessConnection, agent_source, boot_code
from edgecomp.devices.device import Device
from edgecomp.errors import EdgecompError, PromiseError

#: The Python that has the runtimes.
PYTHON = sys.executable


def connect(device: Device, **variables: str) -> Connection:
    """Starts the agent on this machine.

    Args:
        device: The device, for its name in errors.
        **variables: Environment variables besides those of this process.
    """

    def explain(code: int | None, said: str) -> EdgecompError:
        return PromiseError(
            f"device {device.name}",
            expected="an agent that works until the end",
            actual=f"it ended with exit code {code}; last words: {said.strip() or 'none'}",
            cure="measure again; report this if it happens again",
        )

    # The agent's children must find the same runtimes, even if these were added to the path by hand.
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = {**os.environ, "PYTHONPATH": path, **variables}
    return ProcessConnection(
        [sys.executable, "-u", "-c", boot_code(len(agent_source()))], explain, environment=environment
    )
