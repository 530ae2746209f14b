"""Publishes releases of a bundle into a folder that any static web server can serve."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgecomp.bundle.build import find_manifest
from edgecomp.bundle.checking import check_files
from edgecomp.bundle.contents import FILE, SIGNATURE
from edgecomp.delivery.delta import make_delta
from edgecomp.errors import InputError, SourceError, VerificationError
from edgecomp.manifest import sha256
from edgecomp.progress import Progress, silent

SCHEMA = 1
INDEX = "index.json"


@dataclass(frozen=True)
class Index:
    """The index of a site. It is only a hint; security does not depend on it.

    Attributes:
        name: The name of the bundle.
        platform: The platform of the bundle.
        releases: Release -> file that loaders read -> SHA-256, including `bundle.json` and its signature.
        deltas: "OLD-NEW", two SHA-256 -> bytes of the delta.
    """

    name: str
    platform: str
    releases: dict[int, dict[str, str]]
    deltas: dict[str, int]

    @property
    def newest(self) -> int:
        """The highest release."""
        return max(self.releases)

    def to_bytes(self) -> bytes:
        """Returns JSON; the same index always gives the same bytes."""
        content = {"schema": SCHEMA, **self.__dict__}
        return (json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Index:
        """Parses the result of `to_bytes`.

        Raises:
            ValueError: It is something else, or has a newer schema.
        """
        try:
            fields = json.loads(content)
            if fields["schema"] > SCHEMA or not fields["releases"]:
                raise ValueError(f"schema {fields['schema']}")
            releases = {int(number): _hashes(files) for number, files in fields["releases"].items()}
            deltas = {str(pair): int(size) for pair, size in fields["deltas"].items()}
            return cls(str(fields["name"]), str(fields["platform"]), releases, deltas)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None


def _hashes(files: dict[str, Any]) -> dict[str, str]:
    return {name: str(digest) for name, digest in files.items()}


@dataclass(frozen=True)
class Published:
    """The result of `publish`.

    Attributes:
        site: The folder.
        release: The newest release.
        added: Bytes of the files that were added.
        deltas: "OLD-NEW" -> bytes, for new deltas.
        downloads: Release -> bytes that a device with this release has to download; 0 stands for no release.
    """

    site: Path
    release: int
    added: int
    deltas: dict[str, int]
    downloads: dict[int, int]


def publish(bundle: Path, site: Path, key: Path, *, deltas: int = 2, progress: Progress = silent) -> Published:
    """Adds a signed bundle to a site as its newest release.

    Args:
        bundle: A bundle of `edgecomp bundle`.
        site: The folder to serve; created if it does not exist.
        key: The public key that must have signed the bundle.
        deltas: The number of earlier releases to make deltas from.
        progress: Called as the work goes on.

    Raises:
        InputError: The bundle, the site or the key cannot be used; the site is unchanged.
        VerificationError: The bundle differs from what was signed.
    """
    document, _, violations = check_files(bundle, key)
    if violations:
        raise VerificationError(
            str(bundle),
            expected="a bundle as it was made, with the key's signature",
            actual="; ".join(violations),
            cure="sign it with `edgecomp sign`, or make it again with `edgecomp bundle --sign`",
        )
    assets = find_manifest(bundle).parent
    files = {name: assets / name for name in (FILE, SIGNATURE, *document["assets"])}
    index = _next_index(site, document, {name: sha256(path) for name, path in files.items()})
    added = sum(_add(path, site / "files" / index.releases[index.newest][name]) for name, path in files.items())
    made = _add_deltas(site, index, deltas, progress)
    index = replace(index, deltas=index.deltas | made)
    _write(site / INDEX, index.to_bytes())
    return Published(site, index.newest, added, made, _downloads(site, index))


def _downloads(site: Path, index: Index) -> dict[int, int]:
    """Returns the bytes that a device with each of the releases downloads, without the index."""
    newest = set(index.releases[index.newest].values())
    sizes = {digest: (site / "files" / digest).stat().st_size for digest in newest}
    there = {0: set[str](), **{release: set(files.values()) for release, files in index.releases.items()}}
    del there[index.newest]
    return {
        release: sum(
            min([sizes[new], *(index.deltas[f"{old}-{new}"] for old in known if f"{old}-{new}" in index.deltas)])
            for new in newest - known
        )
        for release, known in there.items()
    }


def read_index(site: Path) -> Index | None:
    """Reads the index of a site on this machine; None if it has none yet.

    Raises:
        SourceError: It is damaged, or from a newer edgecomp.
    """
    try:
        return Index.from_bytes((site / INDEX).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SourceError(
            str(site / INDEX),
            expected=f"what `edgecomp publish` wrote: schema {SCHEMA} or older",
            actual=str(error),
            cure="publish with this version of edgecomp, or into another folder",
        ) from None


def _next_index(site: Path, document: dict[str, Any], files: dict[str, str]) -> Index:
    release = document["release"]
    before = read_index(site)
    if before is None:
        return Index(document["name"], document["platform"], {release: files}, {})
    if (before.name, before.platform) != (document["name"], document["platform"]):
        raise InputError(
            str(site),
            expected=f"a site of {document['name']} for {document['platform']}, or none",
            actual=f"one of {before.name} for {before.platform}",
            cure="publish into another folder: every bundle has a site of its own",
        )
    if release <= before.newest:
        raise InputError(
            f"release {release} of {document['name']}",
            expected=f"a release after {before.newest}, which is published",
            actual=f"release {release}",
            cure=f"make the bundle with --release {before.newest + 1}",
        )
    return replace(before, releases={**before.releases, release: files})


def _add(source: Path, target: Path) -> int:
    """Copies a file unless it exists, and returns the bytes that were added."""
    if target.exists():
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}")
    shutil.copyfile(source, partial)
    partial.replace(target)
    return target.stat().st_size


def _add_deltas(site: Path, index: Index, count: int, progress: Progress) -> dict[str, int]:
    """Makes deltas from earlier releases to the newest one, for files where they are smaller."""
    newest = index.releases[index.newest]
    wanted = [
        (name, files[name], newest[name])
        for _, files in sorted(index.releases.items(), reverse=True)[1 : count + 1]
        for name in sorted(newest.keys() & files.keys() - {FILE, SIGNATURE})
        if files[name] != newest[name]
    ]
    made = {}
    for done, (name, old, new) in enumerate(wanted):
        progress("delta", done, len(wanted), name)
        contents = [(site / "files" / digest).read_bytes() for digest in (old, new)]
        delta = make_delta(*contents)
        if len(delta) < len(contents[1]):
            _write(site / "deltas" / f"{old}-{new}", delta)
            made[f"{old}-{new}"] = len(delta)
    progress("delta", len(wanted), len(wanted))
    return made


def _write(path: Path, content: bytes) -> None:
    """Writes a file completely or not at all, because the site may be served meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}")
    partial.write_bytes(content)
    os.replace(partial, path)
