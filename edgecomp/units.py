"""Formats figures for people."""

from __future__ import annotations


def format_size(size: float) -> str:
    """Bytes as B, kB or MB, of 1000 each."""
    if size < 1e3:
        return f"{size:.0f} B"
    return f"{size / 1e6:.2f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
