"""Labelled data from folders of pictures, archives and functions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecomp.data import InputSpec, collect_evaluation
from edgecomp.errors import DataError
from edgecomp.frontends.data_files import open_data
from edgecomp.frontends.labelled_files import Classes, open_labelled, open_maybe_labelled
from edgecomp.frontends.pictures import Preprocessing

SPECS = (InputSpec("image", "float32", (1, 3, 2, 2)),)
PLAIN = Preprocessing(crop=2)
VECTOR = (InputSpec("x", "float32", (1, 2)),)
ROWS = np.arange(10, dtype=np.float32).reshape(5, 2)


def pictures(folder: Path, **classes: int) -> Path:
    """So many pictures of each class, of which the first channel counts them in all."""
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", (2, 2), (10 + 10 * index, 0, 0)).save(folder / name / f"{index}.png")
    return folder


def labels(place: Path, **known: Any) -> list[int]:
    items = open_labelled(place, SPECS, preprocessing=PLAIN, classes=Classes(**known))
    return [int(label) for _, batch in collect_evaluation(items, SPECS, subject="test") for label in batch]


def test_classes_come_by_turns(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos", a=3, b=1, c=2)
    assert labels(folder) == [0, 1, 2, 0, 2, 0]
    items = open_labelled(folder, SPECS, preprocessing=PLAIN)
    found = [round(float(picture[0, 0, 0, 0]) * 25.5) for (picture,), _ in items]
    assert found == [1, 1, 1, 2, 2, 3]


def test_calibration_pictures_come_by_turns_too(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos", a=3, b=1, c=2)
    found = [round(float(picture[0, 0, 0, 0]) * 25.5) for (picture,) in open_data(folder, SPECS, preprocessing=PLAIN)]
    assert found == [1, 1, 1, 2, 2, 3]


def test_folders_are_called_by_the_names_of_classes(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos", cat=1, dog=2)
    assert labels(folder, names=["dog", "bird", "cat"], count=3) == [2, 0, 0]


def test_folders_are_called_by_numbers_in_any_order(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos", **{"10": 1, "2": 1, "007": 1})
    assert sorted(labels(folder, count=1000)) == [2, 7, 10]


def test_as_many_folders_as_classes_count_in_the_order_of_the_alphabet(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos", n02=1, n01=1, n03=0)
    (folder / ".cache").mkdir()
    assert labels(folder, count=3) == [0, 1]


@pytest.mark.parametrize("names", [None, ["n01", "n01", "n02"]])
def test_folders_of_some_of_the_classes_need_names(tmp_path: Path, names: Any) -> None:
    folder = pictures(tmp_path / "photos", n01=1, n02=1)
    with pytest.raises(DataError) as caught:
        labels(folder, names=names, count=3)
    assert caught.value.expected == "a sub-folder for each of the model's 3 classes, or called by its name or number"
    assert caught.value.actual == "2: n01, n02"
    assert "call the sub-folders by the numbers of their classes" in caught.value.cure


def test_pictures_need_classes_and_preprocessing(tmp_path: Path) -> None:
    folder = pictures(tmp_path, a=1) / "a"
    with pytest.raises(DataError, match="pictures without classes") as caught:
        labels(folder)
    assert caught.value.cure == "move them into sub-folders that are called by class names or numbers"
    with pytest.raises(DataError, match="--preprocess with a folder of pictures"):
        open_labelled(tmp_path, SPECS)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_archives_with_labels(tmp_path: Path, batch: int) -> None:
    specs = (InputSpec("x", "float32", (batch, 2)),)
    np.savez(tmp_path / "data.npz", x=ROWS, labels=[4, 3, 2, 1, 0])
    for place in (tmp_path, tmp_path / "data.npz"):
        data = list(collect_evaluation(open_labelled(place, specs), specs, subject="test"))
        assert np.concatenate([batch for _, batch in data]).tolist() == [4, 3, 2, 1, 0]
        np.testing.assert_array_equal(np.concatenate([inputs[0] for inputs, _ in data])[:5], ROWS)


def test_archives_of_stacked_inputs_with_labels(tmp_path: Path) -> None:
    specs = (InputSpec("state", "float32", (2, 1, 2)), InputSpec("x", "float32", (1, 2)))  # axis 0 counts no samples
    np.savez(tmp_path / "data.npz", state=np.ones((5, 2, 1, 2), np.float32), x=ROWS, labels=[4, 3, 2, 1, 0])
    data = collect_evaluation(open_labelled(tmp_path / "data.npz", specs), specs, subject="test")
    assert [int(label[0]) for _, label in data] == [4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": ROWS}, "the arrays labels, x\n.*x\n.*one array per input of the model and labels"),
        ({"x": ROWS, "labels": [1, 2]}, r"one label for each of the 5 samples\n.*\(2,\)"),
        ({"x": ROWS, "labels": 1}, r"one label for each of the 5 samples\n.*\(\)"),
    ],
)
def test_archives_without_a_label_for_each_sample(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(DataError, match=message):
        list(open_labelled(tmp_path / "data.npz", VECTOR))


def test_single_arrays_have_no_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", ROWS)
    with pytest.raises(DataError, match=r"\.npz files with the arrays x, labels"):
        list(open_labelled(tmp_path, VECTOR))


FUNCTIONS = """
import numpy as np
ROW = np.ones((1, 2), np.float32)
def bare(): yield ROW
def tuples(): yield (ROW,)
def pairs(): yield (ROW,), [1]
def loose_pairs(): yield ROW, [1]
def nothing(): return iter(())
"""


@pytest.mark.parametrize(
    ("name", "inputs", "labelled"),
    [
        ("bare", 1, False),
        ("tuples", 1, False),
        ("pairs", 1, True),
        ("pairs", 2, True),
        ("loose_pairs", 1, True),
        ("loose_pairs", 2, False),  # two inputs
        ("nothing", 1, False),
    ],
)
def test_what_a_function_yields_says_whether_there_are_labels(
    tmp_path: Path, name: str, inputs: int, labelled: bool
) -> None:
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    items, found = open_maybe_labelled(f"{tmp_path / 'mine.py'}:{name}", VECTOR * inputs)
    assert found == labelled
    assert len(list(items)) == (0 if name == "nothing" else 1)


def test_labels_are_optional(tmp_path: Path) -> None:
    np.savez(tmp_path / "with.npz", x=ROWS, labels=np.zeros(5))
    np.savez(tmp_path / "without.npz", x=ROWS)
    assert [open_maybe_labelled(tmp_path / name, VECTOR)[1] for name in ("with.npz", "without.npz")] == [True, False]
    folder = pictures(tmp_path / "photos", spring=1, autumn=1)
    arguments = {"preprocessing": PLAIN}
    assert open_maybe_labelled(folder, SPECS, classes=Classes(count=2), **arguments)[1]  # type: ignore[arg-type]
    assert not open_maybe_labelled(folder, SPECS, classes=Classes(count=3), **arguments)[1]  # type: ignore[arg-type]
    assert not open_maybe_labelled(folder / "spring", SPECS, **arguments)[1]  # type: ignore[arg-type]
