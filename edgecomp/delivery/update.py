"""Brings the newest release of a published bundle to this machine.

The app opens `FOLDER/current`, a link to a release such as `FOLDER/releases/4`. The link is switched atomically, once
everything is downloaded and verified; the previous release is kept. `FOLDER/partial` keeps unfinished downloads.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from edgecomp.bundle import signing
from edgecomp.bundle.build import find_manifest
from edgecomp.bundle.checking import parse_manifest
from edgecomp.bundle.contents import FILE, SIGNATURE
from edgecomp.delivery.delta import DeltaError, apply_delta
from edgecomp.delivery.download import Site
from edgecomp.delivery.site import INDEX, Index
from edgecomp.errors import InputError, OutputError, SourceError, UpdateError
from edgecomp.progress import Progress, silent

#: The largest size of an index or a bundle.json.
_SMALL = 4 << 20


@dataclass(frozen=True)
class Update:
    """The result of `update`.

    Attributes:
        folder: The path of the release: `FOLDER/current`.
        before: The previous release; 0 if there was none.
        release: The current release.
        downloaded: Bytes that were downloaded.
        whole: Total bytes of the release.
        deltas: The files that were made from earlier ones.
    """

    folder: Path
    before: int
    release: int
    downloaded: int
    whole: int
    deltas: tuple[str, ...]


def update(url: str, folder: Path, key: Path, *, base: Path | None = None, progress: Progress = silent) -> Update:
    """Gets the newest release of a site, unless it is installed already.

    Args:
        url: The address of the site.
        folder: The folder that `update` maintains; created if it does not exist.
        key: The public key that must have signed the release.
        base: The bundle that came with the app. Its files need not be downloaded, and no older release is accepted.
        progress: Called as the work goes on.

    Raises:
        InputError: The address, the key or the base cannot be used, or the folder contains another bundle.
        UpdateError: The server does not have the release, or it cannot be trusted; nothing was replaced.
    """
    public = signing.read_public(key)
    arrived = 0

    def count(size: int) -> None:
        nonlocal arrived
        arrived += size

    site = Site(url, folder / "partial", count)
    index = _read_index(site, url)
    current = folder / "current"
    if base is not None:
        find_manifest(base)
    (installed, own), (shipped, others) = (
        _installed(place, index.name) if place is not None and place.exists() else (0, {}) for place in (current, base)
    )
    before = max(installed, shipped)
    if index.newest == before == installed:
        return Update(current, before, before, arrived, _size(current), ())
    listed = index.releases[index.newest]
    manifest, signature = (_small(site, listed, name) for name in (FILE, SIGNATURE))
    if not signing.is_signed_by(public, signature, manifest):
        raise _untrusted(url, f"a {FILE} that {key} signed", "another, or a signature that is not the key's")
    document = parse_manifest(Path(FILE), manifest)
    _check_is_next(url, document, index, before)
    contents = _Contents(site, index, {**others, **own}, document["assets"], progress)
    release = folder / "releases" / str(document["release"])
    with _new_folder(release) as staging:
        for name, content in ((FILE, manifest), (SIGNATURE, signature), *contents):
            _write_durably(staging / name, content)
    _switch(current, release)
    _tidy(folder, {str(installed), str(document["release"])})
    return Update(current, before, document["release"], arrived, _size(current), tuple(contents.deltas))


class _Contents:
    """The files of a release, each from the cheapest source: this machine, a delta, or the site."""

    def __init__(
        self,
        site: Site,
        index: Index,
        there: Mapping[str, Path],
        assets: Mapping[str, Mapping[str, Any]],
        progress: Progress,
    ) -> None:
        self._site, self._index, self._there, self._assets = site, index, there, assets
        self._progress = progress
        self.deltas: list[str] = []

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        for done, (name, asset) in enumerate(self._assets.items()):
            self._progress("update", done, len(self._assets), name)
            yield name, self._content(name, asset["sha256"], asset["size"])
        self._progress("update", len(self._assets), len(self._assets))

    def _content(self, name: str, digest: str, size: int) -> bytes:
        if digest in self._there:
            content = self._there[digest].read_bytes()
            if sha256(content).hexdigest() == digest:
                return content
        made = self._from_delta(digest, size)
        if made is not None:
            self.deltas.append(name)
            return made
        content = self._site.read(f"files/{digest}", size)
        if sha256(content).hexdigest() != digest:
            raise _untrusted(name, f"the file with SHA-256 {digest[:12]}...", "another")
        return content

    def _from_delta(self, digest: str, size: int) -> bytes | None:
        """Makes a file from an installed one; None if there is no delta for it, or none that works."""
        for old, path in self._there.items():
            pair = f"{old}-{digest}"
            if pair not in self._index.deltas:
                continue
            with contextlib.suppress(DeltaError, UpdateError):  # the whole file can be downloaded instead
                content = apply_delta(path.read_bytes(), self._site.read(f"deltas/{pair}", size), size)
                if sha256(content).hexdigest() == digest:
                    return content
        return None


def _read_index(site: Site, url: str) -> Index:
    content = site.read(INDEX, _SMALL, resume=False)
    try:
        return Index.from_bytes(content)
    except ValueError as error:
        raise _untrusted(url, f"an {INDEX} that `edgecomp publish` wrote", str(error)) from None


def _small(site: Site, listed: Mapping[str, str], name: str) -> bytes:
    digest = listed.get(name, "")
    if not digest.isalnum():
        raise _untrusted(INDEX, f"a {name} for the newest release", "none")
    return site.read(f"files/{digest}", _SMALL)


def _check_is_next(url: str, document: Mapping[str, Any], index: Index, before: int) -> None:
    """Checks that the signed release is the one in the index, and not older than the installed one."""
    if (document["name"], document["platform"]) != (index.name, index.platform):
        raise _untrusted(url, f"{index.name} for {index.platform}", f"{document['name']} for {document['platform']}")
    if document["release"] < before or document["release"] != index.newest:
        raise _untrusted(url, f"release {before} or later", f"release {document['release']}")


def _installed(place: Path, name: str) -> tuple[int, dict[str, Path]]:
    """Returns the release of a bundle on this machine, and its files by hash; a damaged bundle counts as none.

    Raises:
        InputError: It is a bundle of another name.
    """
    try:
        manifest = find_manifest(place)
        document = parse_manifest(manifest, manifest.read_bytes())
    except (SourceError, OSError):
        return 0, {}
    if document["name"] != name:
        raise InputError(
            str(place),
            expected=f"a release of {name}, which the site has",
            actual=f"one of {document['name']}",
            cure="give the folder, or the address, that belongs to the other",
        )
    named = {asset["sha256"]: manifest.parent / file for file, asset in document["assets"].items()}
    return document["release"], {digest: path for digest, path in named.items() if path.is_file()}


@contextlib.contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """Creates a folder that gets its name when the block ends without an error."""
    staging = target.with_name(f".{target.name}")
    try:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        yield staging
        shutil.rmtree(target, ignore_errors=True)  # left by an attempt that failed before the switch
        staging.rename(target)
    except OSError as error:
        raise OutputError(
            str(target),
            expected="a place to write to; the release that was there still is",
            actual=error.strerror or str(error),
            cure="free some space, or choose another folder",
        ) from None


def _write_durably(path: Path, content: bytes) -> None:
    """Writes a file through to the disk, because the power may fail just after the switch."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _switch(current: Path, release: Path) -> None:
    """Points `current` to a release atomically."""
    link = current.with_name(".current")
    link.unlink(missing_ok=True)
    link.symlink_to(release.relative_to(current.parent), target_is_directory=True)
    link.replace(current)


def _tidy(folder: Path, kept: set[str]) -> None:
    for path in (folder / "releases").iterdir():
        if path.name not in kept:
            shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(folder / "partial", ignore_errors=True)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _untrusted(subject: str, expected: str, actual: str) -> UpdateError:
    return UpdateError(
        subject,
        expected=expected,
        actual=actual,
        cure="do not use it; tell whoever publishes the site. Nothing was replaced",
    )
