"""Checks of what steps are set to."""

from __future__ import annotations

from edgecomp.errors import InputError


def check_share(step: str, name: str, value: float, meaning: str) -> None:
    """A share between nothing and everything.

    Raises:
        InputError: It is not in (0, 1).
    """
    if not 0.0 < value < 1.0:
        raise InputError(
            f"the step {step}: {name} = {value:g}",
            expected=f"{meaning}, above 0 and below 1",
            actual=f"{value:g}",
            cure=f"set {name} to a share such as 0.5",
        )
