"""A GitLab that remembers, refuses and fails: REST and git on one port of 127.0.0.1.

What it takes, answers and refuses follows GitLab's documentation (docs.gitlab.com), as of GitLab 18:

- api/rest (status codes, pagination, redirects of moved projects), api/rest/authentication
- api/projects (create, edit, archive, delete; deletion is delayed), api/namespaces, api/groups, api/users
- api/project_members, api/projects "share a project with a group"
- api/project_level_variables, api/labels, api/project_webhooks, api/protected_branches
- api/merge_requests (create, update, merge; preparation steps and detailed_merge_status)
- administration/settings/user_and_ip_rate_limits (429, Retry-After, RateLimit-Reset)
- user/project/repository/branches/default and .../protected (the first branch that is pushed becomes the default branch,
  and is protected)

Attributes that the pages don't name are refused, though GitLab overlooks them: they would be our mistakes.
"""

from tests.gitlab_peer.peer import GitlabPeer
from tests.gitlab_peer.server import serve_gitlab

__all__ = ["GitlabPeer", "serve_gitlab"]
