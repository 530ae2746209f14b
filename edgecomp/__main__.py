"""The entry point of the `edgecomp` script, and of `python -m edgecomp`."""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Loads the command line and runs it."""
    # Nothing is half-made while modules are loaded, and a traceback from inside of an import would help nobody.
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(128 + number))
    from edgecomp.cli import main as run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
