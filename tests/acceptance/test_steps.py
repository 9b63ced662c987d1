"""Workflows on a live Airflow around an agent that misbehaves: what a user finds in the log and on the record."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from scaffolder.records.models import AgentCallStatus, ExportStatus, GeneratedProjectStatus
from scaffolder.records.store import ProjectRecords
from tests.acceptance.conftest import Live, Run
from tests.servers import json_answer

FILES = [{"path": "README.md", "content": "{{7*7}} $Id$\r\n"}, {"path": "bin/run", "content": "#!", "executable": True}]
SECRET = "x7Kq2LmZ9pRt4VwY8sBd"
GOOD = json_answer({"files": FILES})


def test_a_run_becomes_commits_records_and_an_archive(live: Live) -> None:
    live.agent.answer(GOOD)
    run = live.run("steps", name="first")
    assert run.state == "success", run.tasks
    project = run.generated_project
    assert (project.status, project.name, project.created_by) == (GeneratedProjectStatus.READY, "first", "admin")
    assert project.expires_at is not None
    commits = run.repository.history()
    assert [commit.step_id for commit in commits] == ["files", "more"]
    assert {commit.authored_at for commit in commits} == {project.run_at.replace(microsecond=0)}
    assert run.repository.read(commits[-1].id, "README.md") == b"{{7*7}} $Id$\r\n"
    assert run.repository.read(commits[-1].id, "docs/first.md").decode() == f"# first\nRun {run.run_id}\n"
    call = run.read("agent_calls")[0]
    origins = {file.path: file.origin for file in run.read("files")}
    assert origins == {
        "README.md": f"agent_call:{call.id}",
        "bin/run": f"agent_call:{call.id}",
        "docs/first.md": "step:more",
    }
    export = run.read("exports")[0]
    assert (export.status, export.commit) == (ExportStatus.EXPORTED, project.head_commit)


def test_templates_of_all_kinds_agents_files_moves_and_deletions_make_one_tree(live: Live) -> None:
    live.agent.answer(json_answer({"files": [{"path": "app.py", "content": "{{ 7*7 }}\n", "executable": True}]}))
    run = live.run("tree")
    assert run.state == "success", "\n".join(run.log(task) for task, state in run.tasks.items() if state == "failed")
    project, call = run.generated_project, run.read("agent_calls")[0]
    year = project.run_at.year
    repository = run.repository
    head = project.head_commit or ""
    assert [commit.step_id for commit in repository.history()] == ["house", "code", "tidy"]
    contents = {entry.path: repository.read(head, entry.path).decode() for entry in repository.files(head)}
    answers = contents.pop("docs/.copier-answers.yml")
    assert contents == {
        "LICENSE": f"(c) {year} platform\n",
        "TOPIC.md": "# tree\n",
        "cut/readme.txt": "TREE\n",
        "src/YEAR": f"{year}.",
        "src/app.py": "{{ 7*7 }}\n",
        "src/tree.py": 'NAME = "tree"\n',
    }
    url = f"{live.git.url}/topics.git"
    assert [line for line in (f"_src_path: {url}", "_commit: v1.0.0", "topic: tree") if line not in answers] == []
    origins = {file.path: file.origin for file in run.read("files")}
    [from_git] = {origin for origin in origins.values() if url in origin}
    assert origins == {
        "LICENSE": "template:house@2",
        "TOPIC.md": from_git,
        "cut/readme.txt": origins["cut/readme.txt"],
        "docs/.copier-answers.yml": from_git,
        "src/YEAR": "step:code",
        "src/app.py": f"agent_call:{call.id}",
        "src/tree.py": "template:service@1",
    }
    assert re.fullmatch(rf"template:{re.escape(url)}.*@[0-9a-f]{{40}}", from_git)
    assert live.git.password not in "".join(run.log(task) for task in run.tasks)


def test_a_template_s_code_runs_only_where_the_setting_allows_it_too(live: Live) -> None:
    run = live.run("trusting")
    assert run.state == "failed"
    told = run.log("hooked")
    expected = ["TemplateNotAllowedError", "post_gen_project.sh", "SCAFFOLDER_ALLOW_TRUSTED_TEMPLATES"]
    assert [text for text in expected if text not in told] == []
    assert run.tries("hooked") == 1


def link_archive(run: Run, export_id: UUID) -> str:
    generated = run.generated_project
    return f"/scaffolder/api/v1/projects/{generated.project}/generated/{generated.id}/exports/{export_id}/archive"


def test_the_link_of_an_export_downloads_the_archive_for_users_only(live: Live) -> None:
    live.agent.answer(GOOD)
    run = live.run("steps", name="linked")
    links = live.rest.get(f"/dags/steps/dagRuns/{run.run_id}/taskInstances/publish/links")["extra_links"]
    path = links["Archive or repository"]
    export = run.read("exports")[0]
    assert path == link_archive(run, export.id)
    for user in ("admin", "ada", "vera"):
        answer = live.airflow.rest_as(user).request("GET", path)
        assert (answer.status_code, answer.content[:2]) == (200, b"PK"), (user, answer.text[:300])
    import httpx2

    assert httpx2.get(live.airflow.url + path).status_code == 401
    assert httpx2.get(live.airflow.url + path, headers={"Authorization": "Bearer x"}).status_code in (401, 403)


def test_pushes_to_a_git_host_with_a_password_that_appears_nowhere(live: Live) -> None:
    live.agent.answer(GOOD)
    directory = live.git.create("pushed")
    run = live.run("steps", name="pushed", target="git", connection="test_git")
    assert run.state == "success", run.log("publish")
    export = run.read("exports")[0]
    assert export.url == f"{live.git.url}/pushed.git"
    assert (directory / "refs" / "heads" / "main").read_text().strip() == run.generated_project.head_commit
    for secret in (live.git.password, live.agent.token):
        told = "".join(run.log(task) for task in run.tasks)
        told += str(live.rest.get(f"/dags/steps/dagRuns/{run.run_id}/taskInstances"))
        assert secret not in told


def test_what_mapped_tasks_are_given_is_never_rendered(live: Live) -> None:
    run = live.run("mapped")
    assert run.state == "success", run.tasks
    head = run.generated_project.head_commit
    assert {entry.path: run.repository.read(str(head), entry.path) for entry in run.repository.files(str(head))} == {
        "into/a.txt": b"{{ 7*7 }} {{ conn.test_git.password }}",
        "into/b.txt": b"{{ 7*7 }} {{ conn.test_git.password }}",
        "9/c.txt": b"{{ 7*7 }}",
        "d.txt": b"{{ 7*7 }}",
    }


BAD: dict[str, tuple[dict[str, Any], Any, str, str]] = {
    # name: (parameters, the agent's answer, the task that fails, what the log and the record say)
    "unknown-parameter": (
        {"nmae": "x"},
        GOOD,
        "open_generated_project",
        r"unknown parameter 'nmae'; accepted are \['agent'",
    ),
    "agent-down": (
        {"agent": "down_agent"},
        GOOD,
        "models",
        r"AgentUnavailableError: agent 'down_agent' .* cannot be reached",
    ),
    "wrong-token": (
        {"agent": "wrong_token_agent"},
        GOOD,
        "models",
        r"AgentRejectedError: .* 401: wrong token. Check the credentials",
    ),
    "no-such-agent": (
        {"agent": "nobody"},
        GOOD,
        "models",
        r"AgentConfigurationError: there is no connection 'nobody'; accepted is one of type 'agent_api'",
    ),
    "connection-of-another-type": (
        {"agent": "test_git"},
        GOOD,
        "models",
        r"AgentConfigurationError: connection 'test_git' is of type 'git_remote'; accepted is 'agent_api'",
    ),
    "answers-an-error": (
        {},
        json_answer({"detail": "boom"}, status=500),
        "models",
        r"AgentUnavailableError: .* 500: boom",
    ),
    "answers-garbage": (
        {},
        (200, {"Content-Type": "application/json"}, b"{]"),
        "models",
        r"AgentAnswerError: .* no JSON",
    ),
    "answers-no-files": ({}, json_answer({"other": 1}), "files", r"ExpressionError: .*files"),
    "answers-bad-path": (
        {},
        json_answer({"files": [*FILES, {"path": "../../x", "content": ""}, {"path": ".git/hooks/x", "content": ""}]}),
        "files",
        r"UnsafePathError: 2 unsafe path\(s\).*'\.\./\.\./x': .*'\.git/hooks/x': ",
    ),
    "answers-a-ci-file": (
        {},
        json_answer({"files": [*FILES, {"path": ".github/workflows/x.yml", "content": "on: push"}]}),
        "files",
        r"UnsafePathError: 1 unsafe path.*'\.github/workflows/x\.yml': runs on a CI system and comes from an agent",
    ),
    "answers-a-secret": (
        {},
        json_answer({"files": [*FILES, {"path": "x.py", "content": f"\n\nTOKEN = 'glpat-{SECRET}'\n"}]}),
        "files",
        r"SecretFoundError: 1 secret\(s\).*'x\.py', line 3: ",
    ),
    "answers-a-large-file": (
        {},
        json_answer({"files": [*FILES, {"path": "x", "content": "x" * (10 * 1024 * 1024 + 1)}]}),
        "files",
        r"LimitExceededError: .*'x' has 10485761 bytes",
    ),
    "unknown-target": (
        {"target": "svn"},
        GOOD,
        "publish",
        r"ExportTargetError: target 'svn'; accepted are \['archive', 'git', 'github', 'gitlab'\]",
    ),
    "target-not-configured": (
        {"target": "git", "connection": ""},
        GOOD,
        "publish",
        r"ExportTargetError: target 'git' needs a connection",
    ),
    "missing-repository": (
        {"target": "git", "connection": "test_git"},
        GOOD,
        "publish",
        r"ExportRejectedError: .*not found",
    ),
}
RETRIED = {"agent-down", "answers-an-error"}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_input_ends_in_a_clear_error_in_the_log_and_on_the_record(live: Live, name: str) -> None:
    conf, answer, failing, message = BAD[name]
    live.agent.answer(answer)
    run = live.run("steps", **({"name": name} | conf))
    assert run.state == "failed"
    tasks = run.tasks
    assert tasks[failing] == "failed", tasks
    assert re.search(message, run.log(failing)), run.log(failing)
    project = run.generated_project
    assert project.status is GeneratedProjectStatus.FAILED
    assert project.error is not None
    assert re.search(message, project.error), project.error
    assert run.tries(failing) == (3 if name in RETRIED else 1)
    assert SECRET not in project.error + "".join(
        run.log(task) for task in tasks if tasks[task] in ("success", "failed")
    )
    before = [step for step in ("models", "files", "more", "publish") if tasks[step] == "success"]
    committed = [step for step in before if step in ("files", "more")]
    assert [commit.step_id for commit in run.repository.history()] == committed if committed else True
    assert {file.step_id for file in run.read("files")} == set(committed)
    assert all(export.status is ExportStatus.FAILED for export in run.read("exports"))
    assert not list((run.repository.directory.parent / "archives").glob("*"))
    assert all(call.status is not AgentCallStatus.PENDING for call in run.read("agent_calls"))


@pytest.mark.parametrize("name", ["NAME", "x y", "../x", ""])
def test_a_name_that_breaks_the_pattern_is_refused_at_the_trigger(live: Live, name: str) -> None:
    live.rest.wait_for_dag("steps")
    body = {"logical_date": None, "conf": {"name": name}}
    answer = live.rest.request("POST", "/api/v2/dags/steps/dagRuns", json=body)
    assert (answer.status_code, "does not match" in answer.text) == (400, True)


def test_a_failed_run_that_is_cleared_goes_on_where_it_failed(live: Live) -> None:
    live.agent.answer(json_answer({"detail": "no"}, status=422))
    run = live.run("steps", name="cleared")
    assert run.generated_project.status is GeneratedProjectStatus.FAILED
    live.agent.answer(GOOD)
    body = {
        "dry_run": False,
        "dag_run_id": run.run_id,
        "only_failed": False,
        "task_ids": ["models"],
        "include_downstream": True,
    }
    live.rest.call("POST", "/api/v2/dags/steps/clearTaskInstances", json=body)
    run.wait()
    project = run.generated_project
    assert (project.status, project.error) == (GeneratedProjectStatus.READY, None)
    assert [call.attempts for call in run.read("agent_calls")] == [2]


def test_a_broken_workflow_is_an_import_error_and_the_others_run(live: Live) -> None:
    live.rest.wait_for_dag("steps")
    errors = live.rest.get("/importErrors")["import_errors"]
    assert [error["filename"] for error in errors] == ["workflow_errors.py"]
    told = errors[0]["stack_trace"]
    assert (
        "broken.yaml:4: step 'one': type is 'api_cal'; accepted are ['api_call', 'file_generation', 'repo_creation']"
        in told
    )


def test_a_project_with_members_is_for_them_alone(live: Live) -> None:
    live.agent.answer(GOOD)
    with psycopg.connect(live.records_postgres.url("scaffolder"), autocommit=True) as connection:
        ProjectRecords(connection).projects.create("payments", name="Payments", owner="admin")
    run = live.run("steps", name="private", project="payments")
    assert run.generated_project.project == "payments"
    path = link_archive(run, run.read("exports")[0].id)
    assert live.rest.request("GET", path).status_code == 200
    refused = live.airflow.rest_as("ada").request("GET", path)
    missing = live.airflow.rest_as("ada").request("GET", path.replace(str(run.read("exports")[0].id), str(uuid4())))
    assert (refused.status_code, missing.status_code) == (404, 404)
    assert refused.headers["content-type"] == "application/problem+json"

    run_id = live.airflow.rest_as("ada").trigger("steps", conf={"name": "theirs", "project": "payments"})
    theirs = Run(live, "steps", run_id).wait()
    assert theirs.state == "failed"
    assert "PermissionDeniedError: user 'ada' is no member of project 'payments'" in theirs.log(
        "open_generated_project"
    )
    assert theirs.read("generated_project") is None
