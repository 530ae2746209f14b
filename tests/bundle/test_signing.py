"""Keys and signatures, and keys that cannot be used."""

import stat
import subprocess
from pathlib import Path

import pytest
from conftest import Run

from edgecomp.bundle.signing import encoded, is_signed_by, read_private, read_public, write_keys
from edgecomp.errors import InputError, OutputError


def test_a_signature_is_of_these_bytes_by_this_key(key: Path, tmp_path: Path) -> None:
    signature = read_private(key).sign(b"content")
    public = read_public(key.with_name(f"{key.name}.pub"))
    write_keys(tmp_path / "other")
    assert is_signed_by(public, signature, b"content")
    assert not is_signed_by(public, signature, b"Content")
    assert not is_signed_by(public, signature[:-1], b"content")
    assert not is_signed_by(read_public(tmp_path / "other.pub"), signature, b"content")


def test_the_private_key_is_for_its_owner_only(key: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert encoded(read_public(key)) == encoded(read_public(key.with_name(f"{key.name}.pub")))


def test_no_key_is_overwritten(key: Path) -> None:
    before = key.read_bytes()
    with pytest.raises(OutputError, match="never overwritten"):
        write_keys(key)
    assert key.read_bytes() == before


def test_openssl_reads_them_too(key: Path) -> None:
    shown = subprocess.run(["openssl", "pkey", "-in", key, "-noout", "-text"], check=True, capture_output=True).stdout
    assert b"ED25519" in shown


@pytest.mark.parametrize("content", ["", "nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(content)
    with pytest.raises(InputError, match="edgecomp keygen"):
        read_private(tmp_path / "key")
    with pytest.raises(InputError, match="edgecomp keygen"):
        read_public(tmp_path / "key")


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "rsa"
    subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-out", key], check=True, capture_output=True)
    with pytest.raises(InputError, match="RSAPrivateKey"):
        read_private(key)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_public(tmp_path / "none")


def test_keygen(edgecomp: Run, tmp_path: Path) -> None:
    result = edgecomp("keygen", tmp_path / "release")
    assert result.exit_code == 0, result.stderr
    assert encoded(read_public(tmp_path / "release.pub")) in result.stdout
    assert "PRIVATE" not in result.stdout
    assert edgecomp("keygen", tmp_path / "release").exit_code == 2
