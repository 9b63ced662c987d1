"""`GitLabExporter`: the target ``gitlab``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from scaffolder.exports.change_request import ChangeRequestExport
from scaffolder.exports.codeowners import make_codeowners
from scaffolder.exports.contract import ExportRequest, ExportResult, read_options
from scaffolder.exports.gitlab.host import GitLabHost
from scaffolder.exports.gitlab.merge_requests import GitLabMergeRequests
from scaffolder.exports.gitlab.options import GitLabOptions
from scaffolder.exports.gitlab.transport import GitLabConnection
from scaffolder.exports.host_api import HostApi
from scaffolder.exports.hosted import HostedExport

# https://docs.gitlab.com/user/project/codeowners: one of the three places
_CODEOWNERS: Final = ".gitlab/CODEOWNERS"


class GitLabExporter:
    """A project at GitLab with all its settings, or a merge request. For options see `GitLabOptions`."""

    target = "gitlab"
    needs_connection = True
    author_options = frozenset(
        {
            "ci",
            "codeowners",
            "members",
            "merge_request.auto_merge",
            "protected_branches",
            "variables",
            "webhooks",
        }
    )

    def check_options(self, options: Mapping[str, Any]) -> None:
        """See `Exporter`."""
        make_codeowners(read_options(GitLabOptions, options, target=self.target).codeowners, path=_CODEOWNERS)

    def connect(self, conn_id: str) -> GitLabConnection:
        """See `Exporter`."""
        from scaffolder.exports.gitlab.hook import GitLabHook

        return GitLabHook(conn_id).get_conn()

    def locate(self, connection: GitLabConnection) -> str:
        """See `Exporter`."""
        return connection.location

    def export(self, request: ExportRequest) -> ExportResult:
        """See `Exporter`."""
        return self._plan(request).run()

    def roll_back(self, request: ExportRequest) -> str | None:
        """See `Exporter`."""
        return self._plan(request).roll_back()

    def _plan(self, request: ExportRequest) -> HostedExport | ChangeRequestExport:
        options = read_options(GitLabOptions, request.options, target=self.target)
        connection: GitLabConnection = request.connection
        api = HostApi(connection, request.ledger.records, settings=request.settings)
        host = GitLabHost(
            api,
            connection,
            options=options,
            read_secret=request.read_secret,
            patience_seconds=request.settings.export_max_wait_seconds,
        )
        name = options.repository or request.name
        if options.merge_request is not None:
            return ChangeRequestExport(
                host,
                GitLabMergeRequests(
                    host, options=options.merge_request, get_commit=lambda: request.export.exported_commit
                ),
                request,
                repository_name=name,
                options=options.merge_request,
                create=api.create,
            )
        return HostedExport(
            host,
            request,
            repository_name=name,
            branch=options.default_branch,
            on_conflict=options.on_conflict,
            files=make_codeowners(options.codeowners, path=_CODEOWNERS),
        )
