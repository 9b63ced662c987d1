"""TLS contexts from a connection's certificates; nothing of the environment counts."""

from __future__ import annotations

import re
import ssl
import tempfile
from pathlib import Path
from typing import Final

from scaffolder.agents.connection import AgentConnection
from scaffolder.errors import AgentConfigurationError

_PEM_BLOCK: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----([^-:]*)-----END \1-----")
_PEM_LINE: Final = 64  # RFC 7468, section 2


def make_tls_context(connection: AgentConnection) -> ssl.SSLContext:
    """Return the context for requests to `connection`. Raises AgentConfigurationError for unusable certificates."""
    if not connection.origin.startswith("https://"):
        # Never used, and trusts nobody: loading the system's authorities takes longer than a request.
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = _make_trusting_context(connection)
    if connection.tls.client_certificate and connection.tls.client_private_key:
        _load_client_certificate(context, connection)
    return context


def _make_trusting_context(connection: AgentConnection) -> ssl.SSLContext:
    import httpx2

    authority = connection.tls.ca_certificate
    if authority is None:
        return httpx2.create_ssl_context(trust_env=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if authority.startswith("/"):
            context.load_verify_locations(cafile=authority)
        else:
            context.load_verify_locations(cadata=_restore_lines(authority))
    except (OSError, ValueError) as error:
        raise _error(connection, "ca_certificate", error) from error
    return context


def _load_client_certificate(context: ssl.SSLContext, connection: AgentConnection) -> None:
    tls = connection.tls
    with tempfile.TemporaryDirectory(prefix="scaffolder-tls-") as directory:  # for its owner only
        certificate = _find_file(tls.client_certificate or "", Path(directory) / "certificate.pem")
        key = _find_file(tls.client_private_key or "", Path(directory) / "key.pem")
        # Without a function OpenSSL asks for the passphrase on the terminal.
        passphrase = tls.client_private_key_passphrase or ""
        try:
            context.load_cert_chain(certificate, key, password=lambda: passphrase)
        except (OSError, ValueError) as error:
            raise _error(connection, "client_certificate with its client_private_key", error) from error


def _find_file(text: str, path: Path) -> Path:
    """Return the file that `text` names, or `path` with the PEM text in it: OpenSSL loads keys from files only."""
    if text.startswith("/"):
        return Path(text)
    path.write_text(_restore_lines(text))
    return path


def _restore_lines(text: str) -> str:
    """Return PEM text with the line ends that a form's single line has lost."""

    def restore(block: re.Match[str]) -> str:
        body = "".join(block[2].replace("\\n", "").split())
        lines = [body[start : start + _PEM_LINE] for start in range(0, len(body), _PEM_LINE)]
        return "\n".join([f"\n-----BEGIN {block[1]}-----", *lines, f"-----END {block[1]}-----\n"])

    return _PEM_BLOCK.sub(restore, text)


def _error(connection: AgentConnection, what: str, error: Exception) -> AgentConfigurationError:
    # The text of OpenSSL's errors names no content; that of a missing file would name its path only.
    reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return AgentConfigurationError(
        f"connection {connection.conn_id!r} has a {what} that cannot be used ({reason}); accepted is PEM text or the "
        "absolute path of a PEM file on the worker"
    )
