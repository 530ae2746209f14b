"""Ed25519 key pairs and signatures (RFC 8032) over the bytes of `bundle.json`.

Keys are PEM files that OpenSSL reads too: `openssl pkeyutl -verify -rawin -pubin -inkey KEY.pub -in bundle.json
-sigfile bundle.sig`. The private key stays where it was made; a bundle holds a signature, and its code the public key.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import TYPE_CHECKING

from edgecomp.errors import InputError, OutputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


def write_keys(path: Path) -> Path:
    """Makes a key pair: the private key at `path`, readable only by its owner, and the public key beside it as `.pub`.

    Returns:
        The file of the public key.

    Raises:
        OutputError: A file exists already, or nothing can be written.
    """
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key, public = Ed25519PrivateKey.generate(), path.with_name(f"{path.name}.pub")
    secret = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    shown = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    try:
        for file, content, mode in ((public, shown, 0o644), (path, secret, 0o600)):
            # O_EXCL: overwriting a key would lose it, and with it every app that trusts it.
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
                stream.write(content)
    except OSError as error:
        raise OutputError(
            str(file),
            expected="a file that does not exist yet, in a folder that can be written to",
            actual=error.strerror or str(error),
            cure="choose another name, a key is never overwritten; or a place with room that can be written to",
        ) from None
    return public


def read_private(path: Path) -> Ed25519PrivateKey:
    """Reads a private key.

    Raises:
        InputError: The file is missing or not a private key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise _unusable(path, "a private key", error) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _unusable(path, "a private key", f"a {type(key).__name__}")
    return key


def read_public(path: Path) -> Ed25519PublicKey:
    """Reads a public key, or the public half of a private one.

    Raises:
        InputError: The file is missing or not a key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        content = path.read_bytes()
        if b"PRIVATE" in content:
            return read_private(path).public_key()
        key = load_pem_public_key(content)
    except (OSError, ValueError) as error:
        raise _unusable(path, "a public key", error) from None
    if not isinstance(key, Ed25519PublicKey):
        raise _unusable(path, "a public key", f"a {type(key).__name__}")
    return key


def is_signed_by(key: Ed25519PublicKey, signature: bytes, content: bytes) -> bool:
    """Tells whether a signature over exactly these bytes was made with the key."""
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def encoded(key: Ed25519PublicKey) -> str:
    """Returns the key's 32 bytes in base64, for a constant in code."""
    return base64.b64encode(key.public_bytes_raw()).decode()


def _unusable(path: Path, wanted: str, problem: object) -> InputError:
    actual = problem if isinstance(problem, str) else getattr(problem, "strerror", None) or str(problem)
    return InputError(
        str(path),
        expected=f"{wanted} that `edgecomp keygen` made: Ed25519, PEM, without a password",
        actual=actual,
        cure="check the path, or make a pair with `edgecomp keygen KEY`",
    )
