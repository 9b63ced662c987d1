"""Certificates made for a test: an authority, and what it signs for 127.0.0.1, localhost and clients."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)


@dataclass(frozen=True)
class Certificate:
    """A certificate with its key, as PEM text."""

    certificate: str
    key: Any

    def key_text(self, passphrase: str | None = None) -> str:
        encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()

    def make_server_context(self, directory: Path, *, client_authority: Authority | None = None) -> ssl.SSLContext:
        """Return the context of a server; with `client_authority` clients have to show a certificate of it."""
        path = directory / "server.pem"
        path.write_text(self.key_text() + self.certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        if client_authority:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=client_authority.certificate)
        return context


class Authority:
    """A certificate authority."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self._name, self._key, is_authority=True)

    def issue(self, name: str, *, expired: bool = False) -> Certificate:
        """Return a certificate for `name`; an IP address is one."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        return Certificate(self._sign(subject, key, expired=expired), key)

    def _sign(self, subject: x509.Name, key: Any, *, is_authority: bool = False, expired: bool = False) -> str:
        now = datetime.now(UTC)
        name = subject.rfc4514_string().removeprefix("CN=")
        other = x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now - timedelta(days=1) if expired else now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if not is_authority:
            builder = builder.add_extension(x509.SubjectAlternativeName([other]), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
