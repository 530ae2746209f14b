"""A result folder appears whole or not at all."""

import errno
from pathlib import Path

import pytest

from edgecomp.errors import OutputError
from edgecomp.system.folder import Staging, atomic_folder, check_free


def test_the_folder_takes_its_name_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "result"
    with atomic_folder(target) as staging:
        (staging.path / "file").write_text("content")
        assert not target.exists()
    assert (target / "file").read_text() == "content"
    assert [path.name for path in target.parent.iterdir()] == ["result"]


def fail_halfway(staging: Staging, error: BaseException) -> None:
    (staging.path / "file").write_text("half")
    raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("bug"), SystemExit(1)])
def test_whatever_ends_the_block_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), atomic_folder(tmp_path / "a" / "b" / "result") as staging:
        fail_halfway(staging, error)
    assert list(tmp_path.iterdir()) == []


def test_only_folders_that_were_made_are_removed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "mine" / "new" / "result"):
        raise KeyboardInterrupt
    assert list((tmp_path / "mine").iterdir()) == []


def exists_as_file(path: Path) -> None:
    path.write_text("")


@pytest.mark.parametrize("make", [Path.mkdir, exists_as_file, lambda path: path.symlink_to("nowhere")])
def test_nothing_is_overwritten(tmp_path: Path, make: object) -> None:
    target = tmp_path / "result"
    make(target)  # type: ignore[operator]
    with pytest.raises(OutputError, match="it exists; nothing is overwritten") as caught:
        check_free(target)
    assert caught.value.subject == str(target)


def test_a_name_that_is_too_long_is_found_out_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="too long") as caught:
        check_free(tmp_path / ("a" * 300))
    assert "a shorter name" in caught.value.cure


def test_a_parent_that_is_a_file_is_found_out_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Not a directory"):
        check_free(tmp_path / "file" / "result")


def test_a_parent_that_cannot_be_written_to_is_found_out_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("edgecomp.system.folder.tempfile.TemporaryFile", refuse)
    with pytest.raises(OutputError, match="Read-only file system") as caught:
        check_free(tmp_path / "result")
    assert caught.value.cure == "choose a folder that can be written to with -o"


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "result"
    with pytest.raises(OutputError, match="No space left on device") as caught, atomic_folder(target) as staging:
        fail_halfway(staging, OSError(errno.ENOSPC, "No space left on device", str(staging.path / "other")))
    assert caught.value.subject == str(target)
    assert "free some space" in caught.value.cure
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_elsewhere_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No space") as caught, atomic_folder(tmp_path / "result"):
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/full/inputs.npy")
    assert caught.value.subject == "/tmp/full/inputs.npy"
    assert "TMPDIR" in caught.value.cure


def test_a_copy_that_fails_is_about_where_it_went(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No space") as caught, atomic_folder(tmp_path / "result") as staging:
        raise OSError(
            errno.ENOSPC, "No space left on device", "/here/model.onnx", None, str(staging.path / "model.onnx")
        )
    assert caught.value.subject == str(tmp_path / "result")


def test_an_error_that_is_no_matter_of_the_disk_stays_itself(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_folder(tmp_path / "result") as staging:
        (staging.path / "nothing").read_text()


@pytest.mark.parametrize("make", [Path.mkdir, exists_as_file])
def test_a_folder_that_appears_meanwhile_stays_as_it_is(tmp_path: Path, make: object) -> None:
    target = tmp_path / "result"
    with pytest.raises(OutputError, match="it appeared while edgecomp worked"), atomic_folder(target):
        make(target)  # type: ignore[operator]
    assert list(tmp_path.iterdir()) == [target]


def test_a_rejected_folder_says_so_in_its_name(tmp_path: Path) -> None:
    for name in ("result.rejected", "result.rejected-2", "result.rejected-3"):
        with atomic_folder(tmp_path / "result") as staging:
            staging.reject()
        assert staging.target == tmp_path / name
        assert staging.target.is_dir()
    assert not (tmp_path / "result").exists()
