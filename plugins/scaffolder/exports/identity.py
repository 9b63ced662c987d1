"""Who commits at an export: the author and committer, and the key that signs. `history` makes the commits."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from scaffolder.errors import ExportTargetError
from scaffolder.generation.git_remote import (
    CredentialsError,
    hold_in_memory,
    read_public_key,
    restore_private_key,
    run_ssh_keygen,
)

_OPENPGP: Final = "-----BEGIN PGP PRIVATE KEY BLOCK-----"
_OPENSSH: Final = "-----BEGIN OPENSSH PRIVATE KEY-----"
# gitformat-signature(5): what git's own signatures are made for
_NAMESPACE: Final = "git"


@dataclass(frozen=True, kw_only=True)
class CommitIdentity:
    """A name, an e-mail address and, where commits are to be signed, a private key as text.

    Keys are OpenSSH's or PEM for SSH signatures, or OpenPGP's in ASCII armor. Raises ExportTargetError for a name or
    address that git cannot hold.
    """

    name: str
    email: str
    private_key: str | None = field(default=None, repr=False)
    passphrase: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for what, value in (("name", self.name), ("email", self.email)):
            if not value.strip():
                raise ExportTargetError(f"the {what} of a commit identity is missing; accepted is any but an empty one")
            if not value.isprintable() or "<" in value or ">" in value or value != value.strip():
                raise ExportTargetError(
                    f"the {what} of a commit identity is {value!r}; accepted is one line without '<', '>' and spaces "
                    "around it"
                )
        if " " in self.email:
            raise ExportTargetError(f"the email of a commit identity is {self.email!r}; accepted is one without spaces")

    @property
    def signature(self) -> str:
        """Name and address as commits hold them."""
        return f"{self.name} <{self.email}>"

    def sign(self, data: bytes) -> str | None:
        """Return the armored signature of `data`, a commit without its signature; None where there is no key.

        No two signatures need be the same. Raises ExportTargetError where key or passphrase cannot be used.
        """
        if not self.private_key:
            return None
        try:
            key = restore_private_key(self.private_key)
            sign = _sign_with_openpgp if key.startswith(_OPENPGP) else _sign_with_ssh
            return sign(key, data, passphrase=self.passphrase)
        except CredentialsError as error:
            raise ExportTargetError(f"commits of {self.signature} cannot be signed: {error}") from None


def _sign_with_ssh(key: str, data: bytes, *, passphrase: str | None) -> str:
    with hold_in_memory(key) as path, tempfile.TemporaryDirectory(prefix="scaffolder-") as directory:
        link = Path(directory, "key")
        link.symlink_to(path)
        if not key.startswith(_OPENSSH):
            # ssh-keygen looks for the public half beside a key that doesn't hold it in the clear. It is no secret.
            link.with_suffix(".pub").write_text(read_public_key(key, passphrase=passphrase))
        signature = run_ssh_keygen("-Y", "sign", "-n", _NAMESPACE, "-f", str(link), passphrase=passphrase, data=data)
    return signature.decode("ascii")


def _sign_with_openpgp(key: str, data: bytes, *, passphrase: str | None) -> str:
    from pysequoia import SignatureMode, Tsk, sign

    try:
        secret = Tsk.from_bytes(key.encode())
    except RuntimeError as error:
        raise CredentialsError(f"the private_key is no OpenPGP key: {_first_line(error)}") from None
    try:
        signer = secret.signer()
    except RuntimeError as error:
        if "encrypted" not in _first_line(error):
            raise CredentialsError(f"the private_key cannot sign: {_first_line(error)}") from None
        if not passphrase:
            raise CredentialsError("the private_key needs its passphrase") from None
        try:
            signer = secret.signer(passphrase)
        except RuntimeError:
            raise CredentialsError("the private_key does not open with its passphrase") from None
    return sign(signer, data, mode=SignatureMode.DETACHED).decode("ascii")


def _first_line(error: RuntimeError) -> str:
    # A stack trace of the library's own follows.
    return str(error).partition("\n")[0]
