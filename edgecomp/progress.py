"""Progress: how long-running work reports what it is doing."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called as the work goes on."""

    def __call__(self, stage: str, done: int, total: int, note: str = "", /) -> None:
        """Takes one report.

        Args:
            stage: What is being done, in a word or two.
            done: How much of it is done.
            total: How much there is.
            note: What can be said about it so far: a loss, a metric.
        """
        ...


def silent(stage: str, done: int, total: int, note: str = "", /) -> None:
    """Reports nothing."""
