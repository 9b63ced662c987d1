"""Variables and secrets, a repository's and those of its environments."""

from __future__ import annotations

import base64
import re
from typing import Any

from tests.github_peer.documents import describe_environment
from tests.github_peer.refusals import RefusalError, invalid_field, not_found
from tests.github_peer.routing import Answer, Call, route
from tests.github_peer.settings import check_plan
from tests.github_peer.state import Environment, Vault

_NAME = re.compile(r"(?!GITHUB_)[A-Z_][A-Z0-9_]*")
_LIMIT_BYTES = 48 * 1024
_ENVIRONMENT = "/{repo}/environments/{environment}"


def _find_environment(call: Call) -> Environment:
    if call.path["environment"] not in call.repository.environments:
        raise not_found()
    return call.repository.environments[call.path["environment"]]


def _find_vault(call: Call) -> Vault:
    return _find_environment(call) if "environment" in call.path else call.repository


def _check_name(resource: str, name: str) -> str:
    if not _NAME.fullmatch(name.upper()):
        raise invalid_field(resource, "name", f"{resource} names can only contain alphanumeric characters and _")
    return name.upper()


@route("GET", "/{repo}/environments", answered="ReposOwnerRepoEnvironmentsGetResponse200")
def list_environments(call: Call) -> Answer:
    environments = list(call.repository.environments.values())
    return call.answer_page(
        environments, lambda found: describe_environment(call.peer, call.repository, found), key="environments"
    )


@route("GET", _ENVIRONMENT, answered="Environment")
def get_environment(call: Call) -> Answer:
    return Answer(200, describe_environment(call.peer, call.repository, _find_environment(call)))


@route(
    "PUT",
    _ENVIRONMENT,
    body="ReposOwnerRepoEnvironmentsEnvironmentNamePutBody",
    answered="Environment",
    access="admin",
    resource="Environment",
)
def put_environment(call: Call) -> Answer:
    name, body = call.path["environment"], call.body
    if body:
        check_plan(call)
    if not 0 <= (body.get("wait_timer") or 0) <= 43_200:
        raise invalid_field("Environment", "wait_timer")
    policy = body.get("deployment_branch_policy")
    if policy and policy["protected_branches"] == policy["custom_branch_policies"]:
        raise invalid_field("Environment", "deployment_branch_policy")
    if not all(_is_known(call, item) for item in body.get("reviewers") or []):
        raise invalid_field("Environment", "reviewers")
    environments = call.repository.environments
    if name not in environments:
        environments[name] = Environment(id=call.peer.next_id(), name=name)
    environments[name].settings = dict(body)
    return Answer(200, describe_environment(call.peer, call.repository, environments[name]))


def _is_known(call: Call, item: dict[str, Any]) -> bool:
    if item.get("type") == "User":
        return any(account.id == item.get("id") for account in call.peer.accounts.values())
    return any(item.get("id") in account.teams.values() for account in call.peer.accounts.values())


@route("GET", "/{repo}/actions/variables", answered="ReposOwnerRepoActionsVariablesGetResponse200", access="write")
@route("GET", f"{_ENVIRONMENT}/variables", answered="ReposOwnerRepoActionsVariablesGetResponse200", access="write")
def list_variables(call: Call) -> Answer:
    vault = _find_vault(call)
    names = sorted(vault.variables)
    return call.answer_page(
        names, lambda name: _describe_variable(vault, name), key="variables", default=10, maximum=30
    )


def _describe_variable(vault: Vault, name: str) -> dict[str, Any]:
    times = {"created_at": vault.created_at, "updated_at": vault.created_at}
    return {"name": name, "value": vault.variables[name]} | times


@route("GET", "/{repo}/actions/variables/{name}", answered="ActionsVariable", access="write")
@route("GET", f"{_ENVIRONMENT}/variables/{{name}}", answered="ActionsVariable", access="write")
def get_variable(call: Call) -> Answer:
    vault = _find_vault(call)
    return Answer(200, _describe_variable(vault, _find_variable(vault, call.path["name"])))


def _find_variable(vault: Vault, name: str) -> str:
    if name.upper() not in vault.variables:
        raise not_found()
    return name.upper()


@route(
    "POST",
    "/{repo}/actions/variables",
    body="ReposOwnerRepoActionsVariablesPostBody",
    access="write",
    resource="Variable",
)
@route(
    "POST",
    f"{_ENVIRONMENT}/variables",
    body="ReposOwnerRepoEnvironmentsEnvironmentNameVariablesPostBody",
    access="write",
    resource="Variable",
)
def create_variable(call: Call) -> Answer:
    vault, name = _find_vault(call), _check_name("Variable", call.body["name"])
    if name in vault.variables:
        raise RefusalError(409, "Already exists - Variable already exists")
    _set_variable(vault, name, call.body["value"])
    return Answer(201, {})


@route(
    "PATCH",
    "/{repo}/actions/variables/{name}",
    body="ReposOwnerRepoActionsVariablesNamePatchBody",
    access="write",
    resource="Variable",
)
@route(
    "PATCH",
    f"{_ENVIRONMENT}/variables/{{name}}",
    body="ReposOwnerRepoEnvironmentsEnvironmentNameVariablesNamePatchBody",
    access="write",
    resource="Variable",
)
def update_variable(call: Call) -> Answer:
    vault = _find_vault(call)
    name = _find_variable(vault, call.path["name"])
    renamed = _check_name("Variable", call.body.get("name") or name)
    value = call.body.get("value")
    _set_variable(vault, renamed, vault.variables[name] if value is None else value)
    if renamed != name:
        del vault.variables[name]
    return Answer(204)


def _set_variable(vault: Vault, name: str, value: str) -> None:
    if len(value.encode()) > _LIMIT_BYTES:
        raise invalid_field("Variable", "value", "Value is too large")
    vault.variables[name] = value


@route("GET", "/{repo}/actions/secrets/public-key", answered="ActionsPublicKey", access="write")
@route("GET", f"{_ENVIRONMENT}/secrets/public-key", answered="ActionsPublicKey", access="write")
def get_public_key(call: Call) -> Answer:
    vault = _find_vault(call)
    key = base64.b64encode(bytes(vault.key.public_key)).decode()
    return Answer(200, {"key_id": vault.key_id, "key": key})


@route("GET", "/{repo}/actions/secrets", answered="ReposOwnerRepoActionsSecretsGetResponse200", access="write")
@route("GET", f"{_ENVIRONMENT}/secrets", answered="ReposOwnerRepoActionsSecretsGetResponse200", access="write")
def list_secrets(call: Call) -> Answer:
    vault = _find_vault(call)
    times = {"created_at": vault.created_at, "updated_at": vault.created_at}
    return call.answer_page(sorted(vault.secrets), lambda name: {"name": name} | times, key="secrets")


@route(
    "PUT",
    "/{repo}/actions/secrets/{name}",
    body="ReposOwnerRepoActionsSecretsSecretNamePutBody",
    access="write",
    resource="Secret",
)
@route(
    "PUT",
    f"{_ENVIRONMENT}/secrets/{{name}}",
    body="ReposOwnerRepoEnvironmentsEnvironmentNameSecretsSecretNamePutBody",
    access="write",
    resource="Secret",
)
def put_secret(call: Call) -> Answer:
    vault, name = _find_vault(call), _check_name("Secret", call.path["name"])
    if call.body["key_id"] != vault.key_id:
        raise invalid_field("Secret", "key_id", "Please retrieve the public key first")
    try:
        value = vault.open_box(call.body["encrypted_value"])
    except Exception:
        raise RefusalError(422, "Bad request - validation failed due to an improperly encrypted secret") from None
    if len(value.encode()) > _LIMIT_BYTES:
        raise invalid_field("Secret", "encrypted_value", "Value is too large")
    is_new = name not in vault.secrets
    vault.secrets[name] = call.body["encrypted_value"]
    return Answer(201, {}) if is_new else Answer(204)
