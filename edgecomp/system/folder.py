"""A result folder that appears completely or not at all."""

from __future__ import annotations

import errno
import itertools
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgecomp.errors import OutputError


def check_free(target: Path) -> None:
    """Checks, before any work, that a folder can be created.

    Raises:
        OutputError: It exists, or the place cannot be written to.
    """
    try:
        taken = target.exists() or target.is_symlink()
    except OSError as error:
        raise _unwritable(target, error) from None
    if taken:
        raise OutputError(
            str(target),
            expected="a folder that does not exist yet",
            actual="it exists; nothing is overwritten",
            cure="remove it, or choose another with -o",
        )
    parent = _existing_parent(target)
    try:
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise _unwritable(target, error) from None


@dataclass
class Staging:
    """A folder in the making.

    Attributes:
        path: Where to write.
        target: The name that it will take; may be changed on the way.
    """

    path: Path
    target: Path

    def reject(self) -> None:
        """Renames the folder, when it is finished, to a free name that says it was rejected."""
        suffixes = itertools.chain([""], (f"-{count}" for count in itertools.count(2)))
        names = (f"{self.target.name}.rejected{suffix}" for suffix in suffixes)
        self.target = next(path for path in map(self.target.with_name, names) if not path.exists())


@contextmanager
def atomic_folder(target: Path) -> Iterator[Staging]:
    """Creates a temporary folder that is renamed to `target` if the block succeeds, and removed if it fails.

    Raises:
        OutputError: The disk is full, the place is read-only, or `target` appeared meanwhile.
    """
    check_free(target)
    made = [parent for parent in target.parents if not parent.exists()]
    staging: Staging | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial-{secrets.token_hex(4)}")
        partial.mkdir()  # mkdtemp would make a folder that only its owner can read
        staging = Staging(partial, target)
        yield staging
        # rename() replaces an empty folder silently; nothing may be replaced.
        if staging.target.exists():
            raise FileExistsError(errno.EEXIST, "it appeared while edgecomp worked")
        staging.path.rename(staging.target)
    except BaseException as error:
        if staging is not None:
            shutil.rmtree(staging.path, ignore_errors=True)
        for parent in made:
            if parent.exists() and not any(parent.iterdir()):
                parent.rmdir()
        if isinstance(error, OSError) and error.errno in _CURES:
            # A full folder for temporary files is another place, and has another cure.
            # Of a copy that fails, the second name is where it was to go.
            named = error.filename2 or error.filename
            place = Path(named) if named else target
            ours = staging is None or staging.path in (place, *place.parents)
            raise _unwritable(target if ours else place, error) from error
        raise


_CURES = {
    errno.ENOSPC: "free some space, or choose another disk: with -o for the result, TMPDIR for temporary files",
    errno.EDQUOT: "free some space, or choose another disk: with -o for the result, TMPDIR for temporary files",
    errno.EROFS: "choose a folder that can be written to with -o",
    errno.EACCES: "choose a folder that can be written to with -o",
    errno.EPERM: "choose a folder that can be written to with -o",
    errno.EEXIST: "remove it, or choose another with -o",
    errno.ENOTEMPTY: "remove it, or choose another with -o",
    errno.ENOTDIR: "choose a folder whose parents are folders with -o",
    errno.ENAMETOOLONG: "choose a shorter name with -o",
}


def _unwritable(target: Path, error: OSError) -> OutputError:
    return OutputError(
        str(target),
        expected="a place to write to; nothing was left behind",
        actual=error.strerror or str(error),
        cure=_CURES.get(error.errno or 0, "choose another folder with -o"),
    )


def _existing_parent(target: Path) -> Path:
    return next(parent for parent in target.absolute().parents if parent.exists())
