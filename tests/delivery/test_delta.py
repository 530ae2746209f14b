"""Deltas: what was made from two files turns one into the other, and nothing else is believed."""

from __future__ import annotations

import struct
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecomp.delivery.delta import DeltaError, apply_delta, make_delta
from edgecomp.errors import MissingToolchainError


@given(old=st.binary(max_size=300), pieces=st.lists(st.tuples(st.integers(0, 300), st.binary(max_size=40)), max_size=6))
@settings(max_examples=200, deadline=None)
def test_a_file_is_made_from_any_other(old: bytes, pieces: list[tuple[int, bytes]]) -> None:
    new = b"".join(old[start : start + 60] + insert for start, insert in pieces)
    assert apply_delta(old, make_delta(old, new), len(new)) == new


def test_weights_that_change_by_a_step_cost_little() -> None:
    """Where equal strings are hardly found, differences are small numbers."""
    random = np.random.default_rng(0)
    weights = np.clip(random.normal(scale=30, size=200_000), -127, 127).astype(np.int8)
    moved = weights + random.choice(np.array([-1, 0, 1], np.int8), p=[0.15, 0.7, 0.15], size=weights.size)
    old, new = (b"TFL3" + array.astype(np.int8).tobytes() for array in (weights, moved))
    delta = make_delta(old, new)
    assert apply_delta(old, delta, len(new)) == new
    assert len(delta) < 0.3 * len(zlib.compress(new, 9))


OLD, NEW = bytes(range(256)) * 20, bytes(range(255, -1, -1)) * 20 + bytes(range(256)) * 10


def test_another_old_file_gives_another_new_one() -> None:
    made = apply_delta(OLD[::-1], make_delta(OLD, NEW), len(NEW))
    assert made != NEW  # update() notices by the hash


@pytest.mark.parametrize("place", range(0, 200, 7))
def test_a_damaged_delta_is_noticed_or_gives_another_file(place: int) -> None:
    delta = bytearray(make_delta(OLD, NEW))
    delta[place % len(delta)] ^= 0x55
    try:
        made = apply_delta(OLD, bytes(delta), len(NEW))
    except DeltaError:
        return
    assert len(made) == len(NEW)


@pytest.mark.parametrize("size", [0, 7, 30, 60])
def test_a_delta_that_is_cut_off_is_refused(size: int) -> None:
    with pytest.raises(DeltaError):
        apply_delta(OLD, make_delta(OLD, NEW)[:size], len(NEW))


def test_a_delta_for_another_size_is_refused() -> None:
    with pytest.raises(DeltaError, match="no delta for a file of 3 bytes"):
        apply_delta(OLD, make_delta(OLD, NEW), 3)


def crafted(control: list[tuple[int, int, int]], differences: bytes, extra: bytes, size: int) -> bytes:
    triples = b"".join(struct.pack("<3q", *triple) for triple in control)
    parts = [zlib.compress(part) for part in (triples, differences, extra)]
    return struct.pack("<8s3Q", b"EDELTA1\n", size, len(parts[0]), len(parts[1])) + b"".join(parts)


@pytest.mark.parametrize(
    ("control", "words"),
    [
        ([(-4, 4, 0)], "lead out"),
        ([(4, -4, 0)], "lead out"),
        ([(9, 0, 0)], "lead out"),
        ([(0, 9, 0)], "lead out"),
        ([(4, 0, 0), (4, 0, 0)], "lead out"),
        ([(2, 2, 0)], "makes 4 bytes, not 8"),
        ([], "makes 0 bytes, not 8"),
    ],
)
def test_instructions_that_lead_out_of_the_files_are_refused(control: list[tuple[int, int, int]], words: str) -> None:
    with pytest.raises(DeltaError, match=words):
        apply_delta(b"abcdefgh", crafted(control, b"\0" * 4, b"wxyz", 8), 8)


def test_what_lies_beyond_the_old_file_counts_as_zero() -> None:
    delta = crafted([(2, 0, 100), (2, 0, -300), (2, 0, 0)], b"\x01\x01zzzz", b"", 6)
    assert apply_delta(b"ab", delta, 6) == b"bczzzz"


def test_a_few_bytes_that_stand_for_very_many_are_refused() -> None:
    bomb = crafted([(8, 0, 0)], bytes(50_000_000), b"", 8)
    assert len(bomb) < 60_000
    with pytest.raises(DeltaError, match="larger than the file"):
        apply_delta(b"abcdefgh", bomb, 8)


def test_who_publishes_without_bsdiff4_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bsdiff4", None)
    with pytest.raises(MissingToolchainError, match=r"edgecomp\[publish\]"):
        make_delta(b"a", b"b")
