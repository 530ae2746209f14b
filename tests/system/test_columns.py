"""Arrays come back from a file as they went in."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecomp.system.columns import read_column, write_columns

ARRAYS: list[Any] = [
    *[np.arange(6, dtype=np.float32).reshape(2, 3)] * 3,
    np.asfortranarray(np.arange(6, dtype=np.int8).reshape(2, 3)),
    np.float64(3.5),
    np.zeros((0, 4), np.float16),
    np.array([True, False]),
    np.zeros(2, np.dtype([("Ω", np.int8)])),  # a header that needs version 3 of the format
    np.arange(3),
]


@pytest.mark.filterwarnings("ignore:Stored array in format 3.0")
def test_every_array_comes_back_in_its_order(tmp_path: Path) -> None:
    write_columns([tmp_path / "a", tmp_path / "b"], ((array, index) for index, array in enumerate(ARRAYS)))
    found = list(read_column(tmp_path / "a"))
    assert [int(index) for index in read_column(tmp_path / "b")] == list(range(len(ARRAYS)))
    for array, wanted in zip(found, ARRAYS, strict=True):
        assert array.dtype == wanted.dtype
        np.testing.assert_array_equal(array, wanted)
    found[0][0, 0] = 9  # a copy of its own
    assert found[1][0, 0] == 0


def test_objects_and_halves_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as stream:
        np.lib.format.write_array(stream, np.array([print]), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        next(read_column(tmp_path / "a"))
    write_columns([tmp_path / "b"], [[np.arange(100)]])
    (tmp_path / "b").write_bytes((tmp_path / "b").read_bytes()[:-8])
    with pytest.raises(ValueError, match="buffer"):
        next(read_column(tmp_path / "b"))
