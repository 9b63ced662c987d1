"""The attributes that GitLab's pages name for each request, with their types and values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tests.gitlab_peer.refusals import malformed

STRING, INTEGER, BOOLEAN, DATE = "string", "integer", "boolean", "date"
STRINGS, INTEGERS, OBJECTS, OBJECT = "strings", "integers", "objects", "object"
ACCESS = ("disabled", "private", "enabled")

#: A type, or the values there are. A "!" in a name says that it is required.
Attributes = Mapping[str, str | tuple[Any, ...]]


def _all(kind: str | tuple[Any, ...], names: str, *, suffix: str = "") -> Attributes:
    return {f"{name}{suffix}": kind for name in names.split()}


_FEATURES = (
    "analytics builds container_registry environments feature_flags forking infrastructure issues merge_requests "
    "model_experiments model_registry monitor package_registry releases repository requirements security_and_compliance "
    "snippets wiki"
)
_PROJECT: Attributes = {
    **_all(ACCESS, _FEATURES, suffix="_access_level"),
    "pages_access_level": (*ACCESS, "public"),
    **_all(
        BOOLEAN,
        "allow_merge_on_skipped_pipeline auto_devops_enabled autoclose_referenced_issues container_registry_enabled "
        "emails_disabled emails_enabled group_runners_enabled issues_enabled jobs_enabled lfs_enabled "
        "merge_pipelines_enabled merge_requests_enabled merge_trains_enabled merge_trains_skip_train_allowed mirror "
        "mirror_trigger_builds only_allow_merge_if_all_discussions_are_resolved "
        "only_allow_merge_if_all_status_checks_passed only_allow_merge_if_pipeline_succeeds packages_enabled "
        "printing_merge_request_link_enabled public_builds public_jobs remove_source_branch_after_merge "
        "request_access_enabled resolve_outdated_diff_discussions shared_runners_enabled show_default_award_emojis "
        "snippets_enabled warn_about_potentially_unwanted_characters wiki_enabled",
    ),
    "name": STRING,
    "path": STRING,
    "approvals_before_merge": INTEGER,
    "auto_cancel_pending_pipelines": ("enabled", "disabled"),
    "auto_devops_deploy_strategy": ("continuous", "manual", "timed_incremental"),
    "build_git_strategy": ("fetch", "clone"),
    "build_timeout": INTEGER,
    "ci_config_path": STRING,
    "container_expiration_policy_attributes": OBJECT,
    "default_branch": STRING,
    "description": STRING,
    "external_authorization_classification_label": STRING,
    "import_url": STRING,
    "merge_method": ("merge", "rebase_merge", "ff"),
    "repository_storage": STRING,
    "squash_option": ("never", "always", "default_on", "default_off"),
    "tag_list": STRINGS,
    "topics": STRINGS,
    "visibility": ("private", "internal", "public"),
}
CREATE_PROJECT: Attributes = _PROJECT | {
    "group_with_project_templates_id": INTEGER,
    "initialize_with_readme": BOOLEAN,
    "namespace_id": INTEGER,
    "repository_object_format": ("sha1", "sha256"),
    "template_name": STRING,
    "template_project_id": INTEGER,
    "use_custom_template": BOOLEAN,
}
EDIT_PROJECT: Attributes = _PROJECT | {
    **_all(
        BOOLEAN,
        "auto_duo_code_review_enabled ci_allow_fork_pipelines_to_run_in_parent_project ci_forward_deployment_enabled "
        "ci_forward_deployment_rollback_allowed ci_push_repository_for_job_token_allowed ci_separated_caches "
        "duo_remote_flows_enabled enforce_auth_checks_on_uploads keep_latest_artifact "
        "mirror_overwrites_diverged_branches mr_default_target_self only_mirror_protected_branches "
        "prevent_merge_without_jira_issue restrict_user_defined_variables service_desk_enabled "
        "spp_repository_pipeline_access web_based_commit_signing_enabled",
    ),
    **_all(
        STRING,
        "issue_branch_template issues_template merge_commit_template merge_requests_template squash_commit_template "
        "suggestion_commit_message",
    ),
    "ci_default_git_depth": INTEGER,
    "ci_delete_pipelines_in_seconds": INTEGER,
    "ci_id_token_sub_claim_components": STRINGS,
    "ci_pipeline_variables_minimum_override_role": ("owner", "maintainer", "developer", "no_one_allowed"),
    "ci_restrict_pipeline_cancellation_role": ("developer", "maintainer", "no_one"),
    "max_artifacts_size": INTEGER,
    "mirror_user_id": INTEGER,
}
_MEMBER_LEVELS = (5, 10, 15, 20, 30, 40, 50)
ADD_MEMBER: Attributes = {
    "user_id": INTEGER,
    "username": STRING,
    "access_level!": _MEMBER_LEVELS,
    "expires_at": DATE,
    "invite_source": STRING,
    "member_role_id": INTEGER,
}
EDIT_MEMBER: Attributes = {"access_level!": _MEMBER_LEVELS, "expires_at": DATE, "member_role_id": INTEGER}
SHARE: Attributes = {"group_id!": INTEGER, "group_access!": _MEMBER_LEVELS, "expires_at": DATE}
_VARIABLE: Attributes = {
    "value!": STRING,
    "description": STRING,
    "environment_scope": STRING,
    "masked": BOOLEAN,
    "protected": BOOLEAN,
    "raw": BOOLEAN,
    "variable_type": ("env_var", "file"),
}
CREATE_VARIABLE: Attributes = _VARIABLE | {"key!": STRING, "masked_and_hidden": BOOLEAN}
EDIT_VARIABLE: Attributes = _VARIABLE | {"filter": OBJECT}
_LABEL: Attributes = {"description": STRING, "priority": INTEGER, "archived": BOOLEAN}
CREATE_LABEL: Attributes = _LABEL | {"name!": STRING, "color!": STRING}
EDIT_LABEL: Attributes = _LABEL | {"new_name": STRING, "color": STRING}
_EVENTS = (
    "confidential_issues confidential_note deployment emoji feature_flag issues job merge_requests note pipeline push "
    "releases resource_access_token tag_push wiki_page milestone vulnerability"
)
HOOK: Attributes = {
    "url!": STRING,
    "name": STRING,
    "description": STRING,
    "enable_ssl_verification": BOOLEAN,
    "push_events_branch_filter": STRING,
    "branch_filter_strategy": ("wildcard", "regex", "all_branches"),
    "token": STRING,
    "custom_webhook_template": STRING,
    "custom_headers": OBJECTS,
    **_all(BOOLEAN, _EVENTS, suffix="_events"),
}
_PROTECTION: Attributes = {
    "allow_force_push": BOOLEAN,
    "code_owner_approval_required": BOOLEAN,
    "allowed_to_push": OBJECTS,
    "allowed_to_merge": OBJECTS,
    "allowed_to_unprotect": OBJECTS,
}
PROTECT: Attributes = _PROTECTION | {
    "name!": STRING,
    "push_access_level": (0, 30, 40, 60),
    "merge_access_level": (0, 30, 40, 60),
    "unprotect_access_level": (30, 40, 60),
}
EDIT_PROTECTION: Attributes = _PROTECTION
_MERGE_REQUEST: Attributes = {
    "allow_collaboration": BOOLEAN,
    "allow_maintainer_to_push": BOOLEAN,
    "assignee_id": INTEGER,
    "assignee_ids": INTEGERS,
    "description": STRING,
    "labels": STRING,
    "merge_after": STRING,
    "milestone_id": INTEGER,
    "remove_source_branch": BOOLEAN,
    "reviewer_ids": INTEGERS,
    "squash": BOOLEAN,
}
CREATE_MERGE_REQUEST: Attributes = _MERGE_REQUEST | {
    "source_branch!": STRING,
    "target_branch!": STRING,
    "title!": STRING,
    "approvals_before_merge": INTEGER,
    "target_project_id": INTEGER,
}
EDIT_MERGE_REQUEST: Attributes = _MERGE_REQUEST | {
    "add_labels": STRING,
    "remove_labels": STRING,
    "discussion_locked": BOOLEAN,
    "state_event": ("close", "reopen"),
    "target_branch": STRING,
    "title": STRING,
}
MERGE: Attributes = {
    "auto_merge": BOOLEAN,
    "merge_commit_message": STRING,
    "merge_when_pipeline_succeeds": BOOLEAN,
    "sha": STRING,
    "should_remove_source_branch": BOOLEAN,
    "skip_merge_train": BOOLEAN,
    "squash": BOOLEAN,
    "squash_commit_message": STRING,
}
NOTHING: Attributes = {}


def check_body(body: Any, attributes: Attributes) -> dict[str, Any]:
    """Return the body. Raises RefusalError for what GitLab's pages don't have."""
    if not isinstance(body, dict):
        raise malformed("The request body is no JSON object")
    named = {name.rstrip("!"): values for name, values in attributes.items()}
    required = [name.rstrip("!") for name in attributes if name.endswith("!")]
    if missing := [name for name in required if body.get(name) is None]:
        raise malformed(", ".join(f"{name} is missing" for name in missing))
    if unknown := sorted(body.keys() - named.keys()):
        raise malformed(f"there are no attributes {unknown}")
    for name, value in body.items():
        accepted = named[name]
        if value is None:
            continue
        if isinstance(accepted, tuple):
            if value not in accepted or isinstance(value, bool):
                raise malformed(f"{name} does not have a valid value")
        elif not _has_type(value, accepted):
            raise malformed(f"{name} is invalid")
    return body


def _has_type(value: Any, kind: str) -> bool:
    if kind == DATE:
        return isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value) is not None
    if kind == INTEGER:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind in {STRINGS, INTEGERS, OBJECTS}:
        item = {STRINGS: STRING, INTEGERS: INTEGER, OBJECTS: OBJECT}[kind]
        return isinstance(value, list) and all(_has_type(one, item) for one in value)
    return isinstance(value, {STRING: str, BOOLEAN: bool, OBJECT: dict}[kind])
