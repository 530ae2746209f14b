"""Labelled data from files: what `--evaluation` and `--training` take, and `verify --data` if it has labels.

1. A folder with one sub-folder of pictures for each class, with the preprocessing of `data_files`. Pictures of all
   classes come by turns, so that any number of them speaks of every class. A sub-folder is the class of its name, if
   the model has class names; or of its number, if all are called by numbers; or else, if there are as many as the
   model has classes, of its place in alphabetical order, as in torchvision's ImageFolder.
2. An `.npz` file, or a folder of them, as `data_files` takes it, with one more array, `labels`: one for each sample.
3. `file.py:function` or `package.module:function`: a function that yields what `evaluation_data()` of a task would.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from edgecomp.data import InputSpec
from edgecomp.errors import DataError
from edgecomp.frontends.data_files import LABELS, find_arrays, open_data, require_preprocessing
from edgecomp.frontends.pictures import Preprocessing, by_turns, find_pictures, read_picture


@dataclass(frozen=True)
class Classes:
    """What is known of a model's classes.

    Attributes:
        names: By number; None where nobody said.
        count: How many there are; None if that is open.
    """

    names: Sequence[str] | None = None
    count: int | None = None

    def numbers(self, folder: Path) -> dict[str, int]:
        """Sub-folder -> class.

        Raises:
            DataError: There is no telling which is which.
        """
        found = [path.name for path in _sub_folders(folder)]
        names = list(self.names or ())
        if all(names.count(name) == 1 for name in found):
            return {name: names.index(name) for name in found}
        if all(name.isdecimal() for name in found):
            return {name: int(name) for name in found}
        if self.count in (None, len(found)):
            return {name: number for number, name in enumerate(found)}
        listed = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
        raise DataError(
            str(folder),
            expected=f"a sub-folder for each of the model's {self.count} classes, or called by its name or number",
            actual=f"{len(found)}: {listed}",
            cure="call the sub-folders by the numbers of their classes (0, 1, ...), or make empty ones for classes "
            "without pictures",
        )


def open_labelled(
    place: str | Path,
    inputs: Sequence[InputSpec],
    *,
    preprocessing: Preprocessing | None = None,
    classes: Classes | None = None,
) -> Iterable[Any]:
    """Items for `edgecomp.data.collect_evaluation`.

    Args:
        place: One of the three forms above.
        inputs: What the graph wants.
        preprocessing: How a picture becomes an input.
        classes: What is known of the model's classes.

    Raises:
        DataError: The place does not exist, has no labels, or holds something else.
        SourceError: The function cannot be imported or raises.
        MissingToolchainError: Pillow is needed and not installed.
    """
    path = Path(place)
    if is_class_folder(path):
        numbers = (classes or Classes()).numbers(path)
        return _read_classes(path, numbers, require_preprocessing(path, preprocessing))
    if find_pictures(path) and not _has_arrays(path):
        raise DataError(
            str(path),
            expected="one sub-folder of pictures for each class",
            actual="pictures without classes",
            cure="move them into sub-folders that are called by class names or numbers",
        )
    return open_data(place, inputs, labelled=True)


def open_maybe_labelled(
    place: str | Path,
    inputs: Sequence[InputSpec],
    *,
    preprocessing: Preprocessing | None = None,
    classes: Classes | None = None,
) -> tuple[Iterable[Any], bool]:
    """Items with or without labels, and whether they have them. The arguments are those of `open_labelled`."""
    path = Path(place)
    if is_class_folder(path):
        try:
            return open_labelled(path, inputs, preprocessing=preprocessing, classes=classes), True
        except DataError:  # sub-folders that are no classes
            return open_data(path, inputs, preprocessing=preprocessing), False
    if _has_arrays(path) or path.suffix == ".npz":
        labelled = all(map(_holds_labels, find_arrays(path) if path.is_dir() else [path]))
        return open_data(path, inputs, labelled=labelled), labelled
    items = iter(open_data(place, inputs, preprocessing=preprocessing))
    first = list(zip(range(1), items))  # noqa: B905, of one or none
    rest = chain((item for _, item in first), items)
    return rest, bool(first) and _is_pair(first[0][1], inputs)


def is_class_folder(path: Path) -> bool:
    """Whether a folder has pictures in sub-folders only."""
    return (
        path.is_dir()
        and not _has_arrays(path)
        and any(map(find_pictures, _sub_folders(path)))
        and not any(picture.parent == path for picture in find_pictures(path))
    )


def _sub_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _has_arrays(path: Path) -> bool:
    return path.is_dir() and bool(find_arrays(path))


def _holds_labels(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return f"{LABELS}.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile):  # said when it is read
        return False


def _is_pair(item: Any, inputs: Sequence[InputSpec]) -> bool:
    """Whether an item is inputs with labels, and no tuple of two inputs."""
    pair = isinstance(item, tuple | list) and len(item) == 2
    return pair and (isinstance(item[0], tuple | list) or len(inputs) == 1)


def _read_classes(folder: Path, numbers: dict[str, int], preprocessing: Preprocessing) -> Iterator[Any]:
    for path in by_turns(find_pictures(folder), lambda path: path.relative_to(folder).parts[0]):
        number = numbers.get(path.relative_to(folder).parts[0])
        if number is not None:
            yield (read_picture(path, preprocessing),), np.array([number])
