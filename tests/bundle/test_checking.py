"""`edgecomp verify BUNDLE --key KEY.pub`, and bundles that are not what was made."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import Run
from tools import TAMPERING, tampered

from edgecomp.bundle.build import Bundle, find_manifest, sign_bundle
from edgecomp.bundle.checking import verify_bundle
from edgecomp.bundle.platform import available_platforms
from edgecomp.bundle.signing import write_keys
from edgecomp.errors import SourceError


@pytest.mark.parametrize("platform", available_platforms())
def test_a_bundle_is_what_was_made(platform: str, bundles: dict[str, Bundle], key: Path) -> None:
    found = verify_bundle(bundles[platform].folder, key.with_name(f"{key.name}.pub"))
    assert not found.violations
    assert found.signature == "trusted"
    assert set(found.differences) == {model["file"] for model in bundles[platform].document["models"]}
    assert max(found.differences.values()) < 0.01


@pytest.mark.parametrize("what", TAMPERING)
def test_tampering_is_named(what: str, edgecomp: Run, bundles: dict[str, Bundle], key: Path, tmp_path: Path) -> None:
    folder = tampered(bundles["web"].folder, "assets", what, tmp_path / "bundle")
    result = edgecomp("verify", folder, "--key", key.with_name(f"{key.name}.pub"))
    assert result.exit_code == 1
    assert "broken: " in result.stdout


def test_changed_code_is_named(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundles["web"].folder, tmp_path / "bundle"))
    (folder / "cats.js").write_text("export {};")
    assert verify_bundle(folder).violations == ("cats.js is not the file that the bundle was made with",)


def test_another_key_is_named(edgecomp: Run, bundles: dict[str, Bundle], tmp_path: Path) -> None:
    write_keys(tmp_path / "other")
    result = edgecomp("verify", bundles["web"].folder, "--key", tmp_path / "other.pub")
    assert result.exit_code == 1
    assert "was not signed by" in result.stdout


def test_sign_signs_anew(edgecomp: Run, bundles: dict[str, Bundle], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundles["web"].folder, tmp_path / "bundle"))
    write_keys(tmp_path / "new")
    assert edgecomp("sign", folder, "--key", tmp_path / "new").exit_code == 0
    assert verify_bundle(folder, tmp_path / "new.pub").signature == "trusted"
    with pytest.raises(SourceError, match=r"one bundle\.json in it"):
        sign_bundle(tmp_path / "nowhere", tmp_path / "new")


def test_a_key_says_nothing_of_a_result(edgecomp: Run, pictures: Path, key: Path) -> None:
    result = edgecomp("verify", pictures, "--key", key)
    assert result.exit_code == 2
    assert "a bundle, which can be signed" in result.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [({"schema": 99}, "schema 99"), ({"code": {"../x": {}}}, "a file '../x'"), ({"assets": None}, "TypeError")],
)
def test_a_damaged_manifest_is_refused(
    change: dict[str, object], words: str, bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(bundles["web"].folder, tmp_path / "bundle"))
    manifest = find_manifest(folder)
    manifest.write_text(json.dumps({**json.loads(manifest.read_bytes()), **change}))
    with pytest.raises(SourceError, match=words):
        verify_bundle(folder)
