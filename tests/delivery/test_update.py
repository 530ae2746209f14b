"""`publish` into a folder, served as any static server would, and `update` from there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Run
from serving import Server, serve

from edgecomp.bundle.build import make_bundle, sign_bundle
from edgecomp.bundle.checking import verify_bundle
from edgecomp.bundle.signing import write_keys
from edgecomp.delivery.site import Index, publish, read_index
from edgecomp.delivery.update import update
from edgecomp.errors import InputError, OutputError, SourceError, UpdateError, VerificationError


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "release"
    write_keys(path)
    return path


@pytest.fixture(scope="module")
def public(key: Path) -> Path:
    return key.with_name("release.pub")


@pytest.fixture(scope="module")
def releases(pictures: Path, key: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The same model three times; the last with other weights and another label."""
    folder = tmp_path_factory.mktemp("releases")
    changed = retrained(pictures, folder / "changed")
    return {
        number: make_bundle(source, "web", folder / str(number), name="cats", sign=key, release=number).folder
        for number, source in ((1, pictures), (2, pictures), (3, changed))
    }


def retrained(result: Path, to: Path) -> Path:
    """A result whose model has one weight more by one step, as if it were trained a little longer."""
    import hashlib

    shutil.copytree(result, to)
    manifest = json.loads((to / "manifest.json").read_text())
    manifest["processing"]["labels"][0] = "a kitten"
    for entry in manifest["artifacts"]:
        if entry["format"] == "onnxruntime":
            entry["sha256"] = hashlib.sha256(_with_another_weight(to / entry["file"])).hexdigest()
    (to / "manifest.json").write_text(json.dumps(manifest))
    return to


def _with_another_weight(path: Path) -> bytes:
    import numpy as np
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(path))
    weight = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
    array = numpy_helper.to_array(weight).copy()
    array.flat[7] -= 1
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path.read_bytes()


@pytest.fixture
def site(releases: dict[int, Path], public: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    publish(releases[1], folder, public)
    return folder


@pytest.fixture
def server(site: Path) -> Iterator[Server]:
    with serve(site) as running:
        yield running


def test_a_device_follows_the_releases(
    releases: dict[int, Path], public: Path, site: Path, server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "device"
    first = update(server.url, folder, public)
    assert (first.before, first.release, first.deltas) == (0, 1, ())
    assert first.downloaded >= first.whole  # all of it, and the index
    same = update(server.url, folder, public)
    assert (same.before, same.release) == (1, 1)
    made = publish(releases[3], site, public)
    second = update(server.url, folder, public)
    assert (second.before, second.release) == (1, 3)
    assert "model.onnx" in second.deltas
    assert second.downloaded < second.whole / 2
    index = (site / "index.json").stat().st_size
    assert second.downloaded == made.downloads[1] + index
    assert made.downloads[0] > 2 * made.downloads[1]
    found = verify_bundle(folder / "current", public)
    assert found.violations == ()
    assert found.release == 3
    assert (folder / "current" / "labels.txt").read_text(encoding="utf-8").startswith("a kitten")
    assert sorted(path.name for path in (folder / "releases").iterdir()) == ["1", "3"]
    assert not (folder / "partial").exists()


def test_what_is_there_already_is_not_downloaded(
    releases: dict[int, Path], public: Path, site: Path, server: Server, tmp_path: Path
) -> None:
    publish(releases[2], site, public)
    done = update(server.url, tmp_path / "device", public, base=releases[1])
    assert (done.before, done.release) == (1, 2)
    assert [name for name in server.requests if name.startswith("deltas/")] == []
    assert len(server.requests) == 3  # the index, bundle.json and its signature: the files are the app's


def test_an_app_that_came_with_the_newest_release_replaces_an_older_one(
    releases: dict[int, Path], public: Path, site: Path, server: Server, tmp_path: Path
) -> None:
    update(server.url, tmp_path / "device", public)
    publish(releases[2], site, public)
    done = update(server.url, tmp_path / "device", public, base=releases[2])
    assert (done.before, done.release) == (2, 2)
    found = verify_bundle(tmp_path / "device" / "current", public)
    assert (found.release, found.violations) == (2, ())
    assert sorted(path.name for path in (tmp_path / "device" / "releases").iterdir()) == ["1", "2"]


def test_without_a_delta_the_whole_file_comes(releases: dict[int, Path], public: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    publish(releases[1], site, public)
    with serve(site) as server:
        update(server.url, tmp_path / "device", public)
        assert publish(releases[3], site, public, deltas=0).deltas == {}
        done = update(server.url, tmp_path / "device", public)
    assert (done.release, done.deltas) == (3, ())


@pytest.mark.parametrize("lie", ["another", "none"])
def test_a_delta_that_does_not_work_is_made_up_for(
    lie: str, releases: dict[int, Path], public: Path, site: Path, server: Server, tmp_path: Path
) -> None:
    update(server.url, tmp_path / "device", public)
    publish(releases[3], site, public)
    for path in (site / "deltas").iterdir():
        path.write_bytes(b"no delta") if lie == "another" else path.unlink()
    done = update(server.url, tmp_path / "device", public)
    assert (done.release, done.deltas) == (3, ())
    assert verify_bundle(tmp_path / "device" / "current", public).violations == ()


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_goes_on(ranges: bool, public: Path, server: Server, tmp_path: Path) -> None:
    """Lost three times in one run, and found again in the next."""
    server.ranges = ranges
    big = max((path.stat().st_size, path.name) for path in find_files(server, tmp_path / "site"))[1]
    place = f"files/{big}"
    whole = 1 << 30
    position = [*order(tmp_path / "site")].index(place)
    server.cut = [*[whole] * position, 100, 50, 25]
    with pytest.raises(UpdateError, match="the connection was lost"):
        update(server.url, tmp_path / "device", public)
    assert not (tmp_path / "device" / "current").exists()
    server.requests.clear()
    done = update(server.url, tmp_path / "device", public)
    assert done.release == 1
    assert f"{place} from {175 if ranges else 25}" in server.requests
    assert verify_bundle(tmp_path / "device" / "current", public).violations == ()


def find_files(server: Server, site: Path) -> list[Path]:
    return list((site / "files").iterdir())


def order(site: Path) -> Iterator[str]:
    """What an update of a device with nothing asks for."""
    index = read_index(site)
    assert index is not None
    listed = index.releases[index.newest]
    yield "index.json"
    yield from (f"files/{listed[name]}" for name in ("bundle.json", "bundle.sig"))
    yield from (f"files/{listed[name]}" for name in listed if name not in {"bundle.json", "bundle.sig"})


def test_a_download_that_was_complete_is_not_asked_for_again(public: Path, server: Server, tmp_path: Path) -> None:
    site, partial = tmp_path / "site", tmp_path / "device" / "partial"
    partial.mkdir(parents=True)
    for path in (site / "files").iterdir():
        (partial / f"files-{path.name}").write_bytes(path.read_bytes())
    done = update(server.url, tmp_path / "device", public)
    assert done.release == 1
    assert done.downloaded == (site / "index.json").stat().st_size


def attempt(server: Server, public: Path, folder: Path) -> str:
    with pytest.raises(UpdateError) as caught:
        update(server.url, folder, public)
    return str(caught.value)


def test_nothing_is_replaced_when_a_file_is_another(
    releases: dict[int, Path], public: Path, site: Path, server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "device"
    update(server.url, folder, public)
    publish(releases[3], site, public, deltas=0)
    index = read_index(site)
    assert index is not None
    for name in ("model.onnx", "labels.txt"):
        place = f"files/{index.releases[3][name]}"
        server.lies = {place: bytes([1]) * (site / place).stat().st_size}
        assert name in attempt(server, public, folder)
        server.lies = {place: bytes(1 + (site / place).stat().st_size)}
        assert "more bytes than were published" in attempt(server, public, folder)
    assert verify_bundle(folder / "current", public).release == 1
    server.lies = {}
    assert update(server.url, folder, public).release == 3


def test_another_key_is_refused(key: Path, server: Server, tmp_path: Path) -> None:
    write_keys(tmp_path / "other")
    assert "a signature that is not the key's" in attempt(server, tmp_path / "other.pub", tmp_path / "device")
    assert not (tmp_path / "device" / "current").exists()


def test_an_older_release_is_refused(
    releases: dict[int, Path], public: Path, site: Path, server: Server, tmp_path: Path
) -> None:
    """A server that serves yesterday's index, signature and all, and one that calls an old release new."""
    folder = tmp_path / "device"
    yesterday = (site / "index.json").read_bytes()
    publish(releases[3], site, public)
    update(server.url, folder, public)
    server.lies = {"index.json": yesterday}
    assert "release 3 or later" in attempt(server, public, folder)
    index = Index.from_bytes((site / "index.json").read_bytes())
    renamed = Index(index.name, index.platform, {9: index.releases[1]}, {})
    server.lies = {"index.json": renamed.to_bytes()}
    assert "release 3 or later" in attempt(server, public, folder)
    assert verify_bundle(folder / "current", public).release == 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>captive portal</html>", "index.json"),
        (b'{"schema": 99, "releases": {"1": {}}}', "schema 99"),
        (b'{"schema": 1}', "KeyError"),
        (b'{"schema":1,"name":"cats","platform":"web","deltas":{},"releases":{"5":{"bundle.json":"../../x"}}}', "none"),
        (b"[]", "TypeError"),
        (b"x" * (5 << 20), "more bytes than were published"),
    ],
)
def test_an_index_that_is_none_is_refused(
    content: bytes, words: str, public: Path, server: Server, tmp_path: Path
) -> None:
    server.lies = {"index.json": content}
    assert words in attempt(server, public, tmp_path / "device")


def test_a_server_that_is_not_there(public: Path, tmp_path: Path) -> None:
    with pytest.raises(UpdateError, match=r"no answer: .*refused") as caught:
        update("http://127.0.0.1:9", tmp_path / "device", public)
    assert caught.value.cure.startswith("check the address, and that the site is served there")
    with pytest.raises(InputError, match="http or https"):
        update("ftp://127.0.0.1/site", tmp_path / "device", public)


def test_an_empty_server(public: Path, tmp_path: Path) -> None:
    with serve(tmp_path) as server, pytest.raises(UpdateError, match="HTTP status 404"):
        update(server.url, tmp_path / "device", public)


def test_a_release_must_be_the_next(releases: dict[int, Path], public: Path, site: Path) -> None:
    with pytest.raises(InputError, match="a release after 1, which is published"):
        publish(releases[1], site, public)


def test_only_what_the_key_signed_is_published(
    releases: dict[int, Path], public: Path, pictures: Path, tmp_path: Path
) -> None:
    write_keys(tmp_path / "other")
    with pytest.raises(VerificationError, match="was not signed by"):
        publish(releases[1], tmp_path / "site", tmp_path / "other.pub")
    plain = make_bundle(pictures, "web", tmp_path / "plain", name="cats").folder
    with pytest.raises(VerificationError, match=r"there is no bundle\.sig"):
        publish(plain, tmp_path / "site", public)
    broken = Path(shutil.copytree(releases[1], tmp_path / "broken"))
    (broken / "assets" / "labels.txt").write_text("a\n")
    with pytest.raises(VerificationError, match=r"labels\.txt is not the file"):
        publish(broken, tmp_path / "site", public)
    assert not (tmp_path / "site").exists()


def test_a_site_is_of_one_bundle(
    releases: dict[int, Path], key: Path, public: Path, pictures: Path, site: Path
) -> None:
    dogs = make_bundle(pictures, "web", site.parent / "dogs", name="dogs", sign=key, release=5).folder
    with pytest.raises(InputError, match="a site of dogs for web"):
        publish(dogs, site, public)
    (site / "index.json").write_text("{}")
    with pytest.raises(SourceError, match=r"what `edgecomp publish` wrote"):
        publish(releases[3], site, public)


def test_a_folder_is_of_one_bundle(pictures: Path, key: Path, public: Path, server: Server, tmp_path: Path) -> None:
    dogs = make_bundle(pictures, "web", tmp_path / "dogs", name="dogs", sign=key).folder
    publish(dogs, tmp_path / "other", public)
    update(server.url, tmp_path / "device", public)
    with serve(tmp_path / "other") as other, pytest.raises(InputError, match="one of cats"):
        update(other.url, tmp_path / "device", public)
    with pytest.raises(InputError, match="one of dogs"):
        update(server.url, tmp_path / "fresh", public, base=dogs)
    with pytest.raises(SourceError, match="no such folder"):
        update(server.url, tmp_path / "fresh", public, base=tmp_path / "nowhere")
    assert verify_bundle(tmp_path / "device" / "current", public).name == "cats"


def test_a_damaged_release_is_replaced_whole(
    releases: dict[int, Path], public: Path, site: Path, server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "device"
    update(server.url, folder, public)
    (folder / "current" / "model.onnx").write_bytes(b"damaged")
    (folder / "current" / "labels.txt").unlink()
    publish(releases[3], site, public)
    assert update(server.url, folder, public).release == 3
    assert verify_bundle(folder / "current", public).violations == ()


def test_a_folder_that_cannot_be_written_to(public: Path, server: Server, tmp_path: Path) -> None:
    (tmp_path / "device").mkdir()
    (tmp_path / "device" / "releases").write_text("in the way")
    with pytest.raises(OutputError, match="the release that was there still is"):
        update(server.url, tmp_path / "device", public)


def test_the_commands_say_what_they_did(
    edgecomp: Run, releases: dict[int, Path], key: Path, public: Path, tmp_path: Path
) -> None:
    site, folder = tmp_path / "site", tmp_path / "device"
    assert edgecomp("publish", releases[1], site, "--key", public).exit_code == 0
    with serve(site) as server:
        assert "release 1 in place of none" in edgecomp("update", server.url, folder, "--key", public).stdout
        said = edgecomp("publish", releases[3], site, "--key", public)
        assert "release 3; serve it" in said.stdout
        assert "for one with release 1" in said.stdout
        document = json.loads(edgecomp("update", server.url, folder, "--key", public, "--json").stdout)
        assert (document["before"], document["release"]) == (1, 3)
        assert "model.onnx" in document["deltas"]
        assert "release 3 is the newest" in edgecomp("update", server.url, folder, "--key", public).stdout
        write_keys(tmp_path / "other")
        refused = edgecomp("update", server.url, tmp_path / "fresh", "--key", tmp_path / "other.pub")
    assert refused.exit_code == 1
    assert "Nothing was replaced" in refused.stderr
    sign_bundle(releases[2], key)
    assert "a release after 3" in edgecomp("publish", releases[2], site, "--key", public).stderr
