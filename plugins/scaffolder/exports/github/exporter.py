"""`GitHubExporter`: the target ``github``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from scaffolder.exports.change_request import ChangeRequestExport
from scaffolder.exports.codeowners import make_codeowners
from scaffolder.exports.contract import ExportRequest, ExportResult, read_options
from scaffolder.exports.github.host import GitHubHost
from scaffolder.exports.github.options import GitHubOptions
from scaffolder.exports.github.pull_requests import GitHubPullRequests
from scaffolder.exports.github.transport import GitHubConnection
from scaffolder.exports.host_api import HostApi
from scaffolder.exports.hosted import HostedExport

# https://docs.github.com/repositories/managing-your-repositorys-settings-and-features/customizing-your-repository
_CODEOWNERS: Final = ".github/CODEOWNERS"


class GitHubExporter:
    """A repository at GitHub with all its settings, or a pull request. For options see `GitHubOptions`."""

    target = "github"
    needs_connection = True
    author_options = frozenset(
        {
            "branch_protection",
            "codeowners",
            "collaborators",
            "custom_properties",
            "environments",
            "pull_request.auto_merge",
            "rulesets",
            "secrets",
            "variables",
            "webhooks",
        }
    )

    def check_options(self, options: Mapping[str, Any]) -> None:
        """See `Exporter`."""
        make_codeowners(read_options(GitHubOptions, options, target=self.target).codeowners, path=_CODEOWNERS)

    def connect(self, conn_id: str) -> GitHubConnection:
        """See `Exporter`."""
        from scaffolder.exports.github.hook import connect_github

        return connect_github(conn_id)

    def locate(self, connection: GitHubConnection) -> str:
        """See `Exporter`."""
        return connection.location

    def export(self, request: ExportRequest) -> ExportResult:
        """See `Exporter`."""
        return self._plan(request).run()

    def roll_back(self, request: ExportRequest) -> str | None:
        """See `Exporter`."""
        return self._plan(request).roll_back()

    def _plan(self, request: ExportRequest) -> HostedExport | ChangeRequestExport:
        options = read_options(GitHubOptions, request.options, target=self.target)
        connection: GitHubConnection = request.connection
        api = HostApi(connection, request.ledger.records, settings=request.settings)
        host = GitHubHost(api, connection, options=options, read_secret=request.read_secret)
        name = options.repository or request.name
        if options.pull_request is not None:
            return ChangeRequestExport(
                host,
                GitHubPullRequests(
                    host, options=options.pull_request, get_commit=lambda: request.export.exported_commit
                ),
                request,
                repository_name=name,
                options=options.pull_request,
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
