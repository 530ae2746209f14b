"""Writes a bundle: models and labels, golden vectors, the platform's files, then `bundle.json` over all of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecomp import manifest
from edgecomp.bundle import contents as bundle_contents
from edgecomp.bundle import signing
from edgecomp.bundle.contents import FILE, GOLDEN, LABELS, SIGNATURE, Contents, choose_models, profile_of
from edgecomp.bundle.golden import make_golden
from edgecomp.bundle.names import parse_name
from edgecomp.bundle.platform import load_platform
from edgecomp.bundle.rendering import copy_shared, render, render_text
from edgecomp.errors import InputError, SourceError
from edgecomp.processing import Processing
from edgecomp.system.folder import atomic_folder, check_free


@dataclass(frozen=True)
class Bundle:
    """A bundle that was written.

    Attributes:
        folder: The bundle's folder.
        document: Its `bundle.json`.
        models_size: Bytes of its models.
        labels_size: Bytes of the file with the class names.
        overhead: Bytes of everything else, except copies of a model in the platform's own form.
        signed: Whether it is signed.
    """

    folder: Path
    document: dict[str, Any]
    models_size: int
    labels_size: int
    overhead: int
    signed: bool


def make_bundle(
    folder: Path,
    platform: str,
    output: Path,
    *,
    name: str | None = None,
    formats: Sequence[str] | None = None,
    release: int = 1,
    sign: Path | None = None,
    trust: Path | None = None,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Bundle:
    """Packs the result of `compress` for one platform.

    Args:
        folder: The result folder.
        platform: A name of `available_platforms()`.
        output: The bundle to make; it must not exist.
        name: Its name in code; by default that of the source.
        formats: The artifacts to include, the preferred one first; by default all that the platform has a runtime for,
            in the order of the target's profile.
        release: Counts up from 1; loaders refuse a release lower than one that they have seen.
        sign: A private key to sign with; the code then trusts its public half.
        trust: The public key that the code trusts, if the bundle is signed elsewhere.
        progress: Called as the work goes on.

    Raises:
        InputError: The folder, the platform, the name or a key cannot be used; nothing was written.
    """
    check_free(output)
    kind = load_platform(platform)
    if kind.archive is not None:
        check_free(output.with_name(f"{output.name}{kind.archive[0]}"))
    content = manifest.read(folder)
    for entry in content["artifacts"]:
        manifest.verified_path(folder, entry)
    if release < 1:
        raise _bad_release(release)
    key = trust or sign
    contents = Contents(
        folder=folder,
        manifest=content,
        name=parse_name(name or str(content["source"]), kind.keywords),
        platform_name=platform,
        platform=kind,
        models=choose_models(content, kind, None if formats is None else tuple(formats), folder),
        processing=_processing(content, folder),
        release=release,
        trusted="" if key is None else signing.encoded(signing.read_public(key)),
        profile=profile_of(content),
    )
    stages = (_write_assets, _write_golden, _write_code, _write_card, _write_manifest)
    with atomic_folder(output) as staging:
        for done, stage in enumerate(stages):
            progress("bundle", done, len(stages))
            stage(contents, staging.path)
        if sign is not None:
            _sign(staging.path, sign)
        progress("bundle", len(stages), len(stages))
    _write_archive(output)
    return _summary(output, contents, sign is not None)


def sign_bundle(folder: Path, key: Path) -> None:
    """Writes a bundle's signature beside its `bundle.json`, replacing an earlier one, and writes its archive again.

    Raises:
        InputError: The key or the bundle cannot be used.
    """
    _sign(folder, key)
    _write_archive(folder)


def _sign(folder: Path, key: Path) -> None:
    document = find_manifest(folder)
    document.with_name(SIGNATURE).write_bytes(signing.read_private(key).sign(document.read_bytes()))


def archive_of(folder: Path) -> Path | None:
    """Returns the path of a bundle's archive, on platforms that have one."""
    archive = load_platform(_read(folder)["platform"]).archive
    return None if archive is None else folder.with_name(f"{folder.name}{archive[0]}")


def _write_archive(folder: Path) -> None:
    document, path = _read(folder), archive_of(folder)
    archive = load_platform(document["platform"]).archive
    if archive is not None and path is not None:
        path.write_bytes(archive[1](folder, document["name"]))


def _read(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(find_manifest(folder).read_bytes())
    return document


def find_manifest(folder: Path) -> Path:
    """Finds the `bundle.json` of a bundle.

    Raises:
        SourceError: The folder is not a bundle, or contains several.
    """
    found = sorted(folder.rglob(FILE)) if folder.is_dir() else []
    if len(found) != 1:
        raise SourceError(
            str(folder),
            expected=f"a bundle: a folder with one {FILE} in it",
            actual=f"{len(found)} of them" if folder.is_dir() else "no such folder",
            cure="give the folder that `edgecomp bundle` wrote",
        )
    return found[0]


def _processing(content: dict[str, Any], folder: Path) -> Processing:
    fields = content.get("processing")  # results of before 0.1 have none
    return Processing() if fields is None else Processing.from_dict(fields, str(folder / manifest.FILE))


def _write_assets(contents: Contents, root: Path) -> None:
    assets = root / contents.assets
    assets.mkdir(parents=True, exist_ok=True)
    for model in contents.models:
        shutil.copyfile(contents.folder / model.file, assets / model.file)
    if contents.processing.labels:
        (assets / LABELS).write_text("".join(f"{line}\n" for line in contents.processing.labels), encoding="utf-8")


def _write_golden(contents: Contents, root: Path) -> None:
    assets = root / contents.assets
    golden = make_golden(contents, assets)
    (assets / GOLDEN).write_text(json.dumps(golden, separators=(",", ":")) + "\n", encoding="utf-8")


def _write_code(contents: Contents, root: Path) -> None:
    copy_shared(contents, root)
    render(contents, root)
    if contents.platform.finish is not None:
        contents.platform.finish(contents, root)


def _write_card(contents: Contents, root: Path) -> None:
    """Writes the manifest's facts for people: data, metrics, target, limits."""
    files = {model.file for model in contents.models}
    verdicts = [each for each in contents.manifest["verification"]["verdicts"] if each["name"] in files]
    template = Path(__file__).with_name("model_card.md.j2")
    words = {"contents": contents, "name": contents.name, "processing": contents.processing}
    metrics = contents.manifest["verification"].get("metrics", {})
    text = render_text(template, manifest=contents.manifest, verdicts=verdicts, metrics=metrics, **words)
    (root / "MODEL_CARD.md").write_text(text, encoding="utf-8")


def _write_manifest(contents: Contents, root: Path) -> None:
    document = bundle_contents.describe(contents, root)
    (root / contents.assets / FILE).write_bytes(bundle_contents.to_bytes(document))


def _summary(folder: Path, contents: Contents, signed: bool) -> Bundle:
    document = _read(folder)
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    models = sum(document["assets"][model.file]["size"] for model in contents.models)
    labels = document["assets"].get(LABELS, {"size": 0})["size"]
    copies = sum((folder / contents.name.in_path(path)).stat().st_size for path in contents.platform.copies)
    return Bundle(folder, document, models, labels, total - models - labels - copies, signed)


def _bad_release(release: int) -> InputError:
    return InputError(
        f"--release {release}",
        expected="a whole number, 1 or more",
        actual=str(release),
        cure="count up from 1, by one for every bundle that you publish",
    )
