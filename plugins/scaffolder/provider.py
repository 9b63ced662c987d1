"""What Airflow asks an installed provider: connection types with their form fields, and extra links."""

from __future__ import annotations

from typing import Any, Final

_TEXT: Final[dict[str, Any]] = {"type": ["string", "null"]}


def _field(label: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": _TEXT | schema}


# Airflow hides values of extras by their names: those with private_key or passphrase in them, but not oauth2_url.
_CREDENTIALS: Final = {
    "auth": _field(
        "Authentication",
        "none; bearer: the password is a token; basic: login and password; header, query: the password is a key, sent "
        "under the key's name; oauth2: login and password are a client's id and secret.",
        type="string",
        enum=["bearer", "none", "basic", "header", "query", "oauth2"],
        default="bearer",
    ),
    "key_name": _field("Key name", "header, query: the name of the header or parameter, such as X-API-Key."),
    "oauth2_url": _field("OAuth2 token URL", "oauth2: the token endpoint. The client secret goes there only."),
    "oauth2_scope": _field("OAuth2 scope", "oauth2: what to ask for, if anything."),
    "oauth2_audience": _field("OAuth2 audience", "oauth2: for whom the token is, where the endpoint wants that."),
    "oauth2_client_auth": _field(
        "OAuth2 client authentication",
        "oauth2: whether the client's secret is sent in the header (basic, the default) or in the form (body).",
        enum=["basic", "body", None],
    ),
    "ca_certificate": _field(
        "CA certificate",
        "PEM text, or the absolute path of a PEM file on the worker. Then no other authority is trusted.",
        format="multiline",
    ),
    "client_certificate": _field(
        "Client certificate", "PEM text or path, for agents that want mutual TLS.", format="multiline"
    ),
    "client_private_key": _field(
        "Client private key", "PEM text or path of the key of the client certificate.", format="password"
    ),
    "client_private_key_passphrase": _field("Private key passphrase", "If the key has one.", format="password"),
}
_GIT_CREDENTIALS: Final = {
    "private_key": _field("SSH private key", "ssh: URLs only: the text of an OpenSSH or PEM key.", format="password"),
    "private_key_passphrase": _field("Private key passphrase", "If the key has one.", format="password"),
    "host_keys": _field(
        "SSH host keys",
        "ssh: URLs only: what 'ssh-keyscan HOST' prints, once it is compared with what the host's operator publishes. "
        "No other key is trusted.",
        format="multiline",
    ),
    "ca_certificate": _field(
        "CA certificate",
        "https: URLs only, for a host with an authority of its own: PEM text, or the absolute path of a PEM file on "
        "the worker.",
        format="multiline",
    ),
}
_SIGNING: Final = {
    "email": _field("E-mail address", "Author and committer of the exported commits, with the name above."),
    "private_key": _field(
        "Signing key",
        "Signs the commits: the text of an OpenSSH or PEM key, or of an OpenPGP key (-----BEGIN PGP PRIVATE KEY "
        "BLOCK-----). Without one they are not signed.",
        format="password",
    ),
}
_GITLAB: Final = {
    "auth": _field(
        "Authentication",
        "private for personal, group and project access tokens; oauth for a token of OAuth 2.0.",
        enum=["private", "oauth", None],
    ),
    "ca_certificate": _field(
        "CA certificate",
        "For a GitLab with an authority of its own: PEM text, or the absolute path of a PEM file on the worker.",
        format="multiline",
    ),
}
_AGENT_BEHAVIOUR: Final = {
    "hidden-fields": ["schema"],
    "relabeling": {"host": "Base URL", "login": "User or client id", "password": "Token, key, password or secret"},
    "placeholders": {"host": "https://agent.example.com"},
}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata (entry point ``apache_airflow_provider``)."""
    return {
        "package-name": "airflow-scaffolder",
        "name": "Scaffolder",
        "description": "AI agents and templates produce software projects as git repositories.",
        "connection-types": [
            {
                "connection-type": "agent_api",
                "hook-class-name": "scaffolder.agents.hook.AgentApiHook",
                "hook-name": "Agent API",
                "ui-field-behaviour": _AGENT_BEHAVIOUR,
                "conn-fields": _CREDENTIALS
                | {
                    "description_path": _field(
                        "Description path",
                        "Where the agent describes itself, below the base URL: /openapi.json (or /mcp) by default.",
                    ),
                    "description_kind": _field(
                        "Description kind",
                        "openapi, or mcp for an MCP server.",
                        type="string",
                        enum=["openapi", "mcp"],
                        default="openapi",
                    ),
                },
            },
            {
                "connection-type": "a2a",
                "hook-class-name": "scaffolder.agents.hook.A2aHook",
                "hook-name": "A2A agent",
                "ui-field-behaviour": _AGENT_BEHAVIOUR,
                "conn-fields": _CREDENTIALS
                | {
                    "description_path": _field(
                        "Card path", "Where the agent's card is, below the base URL: /.well-known/agent-card.json."
                    ),
                },
            },
            {
                "connection-type": "git_remote",
                "hook-class-name": "scaffolder.exports.hook.GitRemoteHook",
                "hook-name": "Git host",
                "ui-field-behaviour": {
                    "hidden-fields": ["port", "schema", "extra"],
                    "relabeling": {"host": "Repository URL", "password": "Password or token"},
                    "placeholders": {"host": "https://git.example.com/team/{name}.git"},
                },
                "conn-fields": _GIT_CREDENTIALS,
            },
            {
                "connection-type": "commit_identity",
                "hook-class-name": "scaffolder.exports.hook.CommitIdentityHook",
                "hook-name": "Commit identity",
                "ui-field-behaviour": {
                    "hidden-fields": ["host", "port", "schema", "extra"],
                    "relabeling": {"login": "Name", "password": "Passphrase of the private key"},
                    "placeholders": {"login": "Release Bot"},
                },
                "conn-fields": _SIGNING,
            },
            {
                "connection-type": "gitlab",
                "hook-class-name": "scaffolder.exports.gitlab.hook.GitLabHook",
                "hook-name": "GitLab",
                "ui-field-behaviour": {
                    "hidden-fields": ["login", "port", "schema", "extra"],
                    "relabeling": {"host": "URL", "password": "Token"},
                    "placeholders": {"host": "https://gitlab.com"},
                },
                "conn-fields": _GITLAB,
            },
        ],
        "extra-links": ["scaffolder.operators.links.RepositoryLink"],
    }
