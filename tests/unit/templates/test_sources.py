"""Templates by name, from directories and from real git repositories, over HTTP with a password too."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scaffolder.config import Settings
from scaffolder.errors import (
    HostUnavailableError,
    LimitExceededError,
    StorageError,
    TemplateError,
    TemplateNotAllowedError,
)
from scaffolder.generation.git_remote import GitRemote
from scaffolder.generation.templates.sources import check_reference, find_template, list_templates, open_template
from tests.servers import GitServer, serve_git
from tests.unit.templates.trees import commit_tree, run_git, write_tree

COOKIECUTTER = {"cookiecutter.json": '{"name": "x"}', "{{cookiecutter.name}}/a.txt": "one"}
COPIER = {"copier.yml": "name: x\n", "a.txt.jinja": "{{ name }}"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "templates").mkdir()
    return replace(
        Settings(),
        templates_dir=tmp_path / "templates",
        include_shipped=False,
        cache_dir=tmp_path / "cache",
        allowed_templates="*, *://*",
        git_timeout_seconds=30,
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "repository", COOKIECUTTER)


@pytest.fixture
def git_server(tmp_path: Path) -> Iterator[GitServer]:
    (tmp_path / "git").mkdir()
    with serve_git(tmp_path / "git") as server:
        yield server


def render(reference: str, settings: Settings, **options: GitRemote) -> dict[str, bytes]:
    template = find_template(reference, settings=settings, **options)
    return {file.path: file.content for file in template.render({}, run={}, trust=False, settings=settings)}


def serve(server: GitServer, repository: Path, name: str = "templates") -> str:
    run_git(repository, "push", "-q", "--mirror", str(server.create(name)))
    return f"git+{server.url}/{name}.git"


def remote_of(server: GitServer, **values: str | None) -> GitRemote:
    given = {"url": f"{server.url}/{{name}}.git", "username": server.username, "password": server.password}
    return GitRemote(**(given | values))  # type: ignore[arg-type]


def test_own_templates_are_there_beside_those_that_ship_and_win(settings: Settings) -> None:
    both = replace(settings, include_shipped=True)
    assert list_templates(both) == ["fastapi_service"]
    assert find_template("fastapi_service", settings=both).version != "own"
    definition = "name: fastapi_service\nversion: own\n"
    write_tree(settings.templates_dir / "fastapi_service", {"template.yaml": definition})
    write_tree(settings.templates_dir / "service", COOKIECUTTER)
    assert list_templates(both) == ["fastapi_service", "service"]
    assert find_template("fastapi_service", settings=both).version == "own"
    with pytest.raises(TemplateError, match=f"in {settings.templates_dir} or .*include/templates; there are "):
        find_template("nope", settings=both)
    with pytest.raises(TemplateError, match="in no directory at all; there are "):
        find_template("nope", settings=replace(Settings(), include_shipped=False))


@pytest.mark.parametrize(("files", "path"), [(COOKIECUTTER, "a.txt"), (COPIER, "a.txt")])
def test_the_templates_directory_may_hold_foreign_templates(
    settings: Settings, files: dict[str, str], path: str
) -> None:
    write_tree(settings.templates_dir / "service", files)
    check_reference("service", settings=settings)
    template = find_template("service", settings=settings)
    assert template.name == "service"
    assert re.fullmatch(r"template:service@[0-9a-f]{12}", template.origin)
    files_made = template.render({}, run={}, trust=False, settings=settings)
    assert {(file.path, file.origin) for file in files_made} == {(path, template.origin)}


@pytest.mark.parametrize("change", ["content", "mode", "name", "link"])
def test_a_local_templates_version_stands_for_its_files(settings: Settings, change: str) -> None:
    directory = write_tree(settings.templates_dir / "service", COOKIECUTTER)
    before = find_template("service", settings=settings).version
    assert find_template("service", settings=settings).version == before
    path = directory / "{{cookiecutter.name}}" / "a.txt"
    if change == "content":
        path.write_text("two")
    elif change == "mode":
        path.chmod(0o755)
    elif change == "name":
        path.rename(path.with_name("b.txt"))
    else:
        path.unlink()
        path.symlink_to("../cookiecutter.json")
    assert find_template("service", settings=settings).version != before


def test_an_unknown_name_lists_those_there_are(settings: Settings) -> None:
    write_tree(settings.templates_dir / "one", COOKIECUTTER)
    write_tree(settings.templates_dir / "two", COPIER)
    write_tree(settings.templates_dir / "three", {"README.md": ""})
    with pytest.raises(TemplateError, match=r"there is no template 'three' in .*; there are \['one', 'two'\]"):
        check_reference("three", settings=settings)


def test_what_is_not_allowed_is_neither_read_nor_fetched(settings: Settings, tmp_path: Path) -> None:
    settings = replace(settings, allowed_templates="*")
    reference = f"git+file://{tmp_path}/nowhere@v1"
    for use in (check_reference, find_template):
        with pytest.raises(TemplateNotAllowedError):
            use(reference, settings=settings)
    assert not settings.cache_dir.exists()


def test_a_git_reference_is_checked_without_a_network(settings: Settings) -> None:
    check_reference("git+http://127.0.0.1:9/acme/t.git@v1", settings=settings)
    assert not settings.cache_dir.exists()


def test_a_directory_without_a_template_says_what_is_looked_for(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(
        TemplateError, match=r"is no template: .*\['template.yaml', 'copier.yml', 'copier.yaml', 'cookiecutter.json'\]"
    ):
        open_template(str(write_tree(tmp_path / "empty", {"README.md": ""})), settings=settings)
    with pytest.raises(TemplateError, match="accepted is a directory, or a git URL"):
        open_template(str(tmp_path / "missing"), settings=settings)


def test_a_person_may_open_what_workflows_may_not(settings: Settings, repository: Path) -> None:
    commit = commit_tree(repository, "v1")
    settings = replace(settings, allowed_templates="")
    assert open_template(str(repository), settings=settings).name == "repository"
    assert open_template(f"git+file://{repository}@v1", settings=settings).version == commit


@pytest.mark.parametrize("kind", ["tag", "annotated tag", "commit"])
def test_a_tag_or_commit_is_fetched_and_recorded_by_its_commit(settings: Settings, repository: Path, kind: str) -> None:
    commit = commit_tree(repository, "v1")
    run_git(repository, "tag", "-a", "v1-annotated", "-m", "x")
    write_tree(repository, {"{{cookiecutter.name}}/a.txt": "two"})
    commit_tree(repository, "v2")
    ref = {"tag": "v1", "annotated tag": "v1-annotated", "commit": commit}[kind]
    template = find_template(f"git+file://{repository}@{ref}", settings=settings)
    assert template.origin == f"template:file://{repository}@{commit}"
    assert render(f"git+file://{repository}@{ref}", settings) == {"a.txt": b"one"}


def test_a_subdirectory_is_part_of_the_origin(settings: Settings, tmp_path: Path) -> None:
    repository = write_tree(tmp_path / "many", {f"python/service/{path}": text for path, text in COOKIECUTTER.items()})
    commit = commit_tree(repository, "v1")
    reference = f"git+file://{repository}@v1#subdirectory=python/service"
    assert find_template(reference, settings=settings).origin == f"template:file://{repository}#python/service@{commit}"
    assert render(reference, settings) == {"a.txt": b"one"}
    for subdirectory in ("python/nothing", "python/service/cookiecutter.json"):
        with pytest.raises(TemplateError, match=f"there is no directory '{subdirectory}' in its repository at 'v1'"):
            find_template(f"git+file://{repository}@v1#subdirectory={subdirectory}", settings=settings)


def test_a_native_template_from_git_and_what_it_extends_there_are_named_by_url_and_commit(
    settings: Settings, tmp_path: Path
) -> None:
    definition = "name: {name}\nversion: '1'\n"
    repository = write_tree(
        tmp_path / "many",
        {
            "base/template.yaml": definition.format(name="base"),
            "base/base.txt": "",
            "service/template.yaml": definition.format(name="service") + "extends: [base, local]\n",
            "service/own.txt": "",
        },
    )
    write_tree(settings.templates_dir / "local", {"template.yaml": definition.format(name="local"), "local.txt": ""})
    commit = commit_tree(repository, "v1")
    template = find_template(f"git+file://{repository}@v1#subdirectory=service", settings=settings)
    files = template.render({}, run={}, trust=False, settings=settings)
    assert template.origin == f"template:file://{repository}#service@{commit}"
    assert {file.path: file.origin for file in files} == {
        "base.txt": f"template:file://{repository}#base@{commit}",
        "local.txt": "template:local@1",
        "own.txt": template.origin,
    }


def test_a_second_run_needs_no_network(settings: Settings, git_server: GitServer, repository: Path) -> None:
    commit = commit_tree(repository, "v1", "other")
    url = serve(git_server, repository)
    remote = remote_of(git_server)
    first = render(f"{url}@v1", settings, remote=remote)
    shutil.rmtree(git_server.root / "templates.git")
    for ref in ("v1", commit, "other"):
        assert render(f"{url}@{ref}", settings) == first


def test_a_tag_stays_what_it_was_when_it_was_fetched(settings: Settings, repository: Path) -> None:
    commit_tree(repository, "v1")
    reference = f"git+file://{repository}@v1"
    assert render(reference, settings) == {"a.txt": b"one"}
    write_tree(repository, {"{{cookiecutter.name}}/a.txt": "moved"})
    commit_tree(repository, "v2")
    run_git(repository, "tag", "-f", "v1")
    assert render(f"git+file://{repository}@v2", settings) == {"a.txt": b"moved"}
    assert render(reference, settings) == {"a.txt": b"one"}


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        (
            "main",
            r"'main' is a branch, which moves \(it is at [0-9a-f]{40}\); accepted is a tag or a full commit; tags ",
        ),
        ("v9", r"has no tag 'v9'; accepted is a tag or a full commit; tags are \['v1'\]$"),
        ("0" * 40, "no branch or tag of file://.* holds the commit '0{40}'"),
        ("0123abc", "has no tag '0123abc'"),
    ],
)
def test_a_ref_that_is_not_pinned_or_not_there_is_refused(
    settings: Settings, repository: Path, ref: str, message: str
) -> None:
    commit_tree(repository, "v1")
    with pytest.raises(TemplateError, match=message):
        find_template(f"git+file://{repository}@{ref}", settings=settings)


def test_a_commit_that_no_branch_or_tag_holds_is_refused(settings: Settings, repository: Path) -> None:
    commit_tree(repository, "v1")
    hidden = run_git(repository, "commit-tree", "HEAD^{tree}", "-m", "hidden")
    run_git(repository, "update-ref", "refs/pull/1/head", hidden)
    run_git(repository, "config", "uploadpack.allowAnySHA1InWant", "true")
    with pytest.raises(TemplateError, match="no branch or tag of"):
        find_template(f"git+file://{repository}@{hidden}", settings=settings)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"password": "wr0ng-secret"}, "Authentication failed"),
        ({"password": None}, "git ls-remote at"),
    ],
)
def test_wrong_credentials_are_refused_and_not_repeated(
    settings: Settings, git_server: GitServer, repository: Path, values: dict[str, str | None], message: str
) -> None:
    commit_tree(repository, "v1")
    url = serve(git_server, repository)
    with pytest.raises(TemplateError, match=message) as caught:
        find_template(f"{url}@v1", settings=settings, remote=remote_of(git_server, **values))
    assert "wr0ng-secret" not in f"{caught.value}{caught.value.__cause__}"


def test_no_password_stays_in_the_cache(settings: Settings, git_server: GitServer, repository: Path) -> None:
    commit_tree(repository, "v1")
    render(f"{serve(git_server, repository)}@v1", settings, remote=remote_of(git_server))
    assert subprocess.run(["grep", "-rl", git_server.password, str(settings.cache_dir)], check=False).returncode == 1


@pytest.mark.parametrize("other", ["http://127.0.0.1:1/{name}.git", "https://127.0.0.1/x", "http://localhost/x"])
def test_credentials_are_for_their_own_host_only(
    settings: Settings, git_server: GitServer, repository: Path, other: str
) -> None:
    commit_tree(repository, "v1")
    url = serve(git_server, repository)
    with pytest.raises(TemplateError, match="the connection's credentials are for http.* the template is at"):
        find_template(f"{url}@v1", settings=settings, remote=remote_of(git_server, url=other))


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("git+http://127.0.0.1:9/t.git@v1", HostUnavailableError, "git ls-remote at http://127.0.0.1:9/t.git failed"),
        ("git+file:///nowhere/t.git@v1", TemplateError, "does not appear to be a git repository"),
    ],
)
def test_a_host_that_is_away_is_told_from_one_that_says_no(
    settings: Settings, url: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        find_template(url, settings=settings)
    assert type(caught.value) is error


def test_what_a_killed_fetch_left_is_no_obstacle(settings: Settings, repository: Path) -> None:
    commit_tree(repository, "v1")
    reference = f"git+file://{repository}@v1"
    find_template(reference, settings=settings)
    (home,) = (settings.cache_dir / "templates").iterdir()
    shutil.rmtree(home / "commits")
    (home / "mirror.git" / "packed-refs").unlink(missing_ok=True)
    shutil.rmtree(home / "mirror.git" / "refs" / "tags")
    (home / "mirror.git" / "objects" / "pack").mkdir(exist_ok=True)
    leftover = home / "mirror.git" / "objects" / "pack" / "tmp_pack_x"
    leftover.write_bytes(b"half")
    write_tree(home / "unfinished-x", {"tree/a": "half"})
    assert render(reference, settings) == {"a.txt": b"one"}
    assert not leftover.exists()
    assert sorted(path.name for path in home.iterdir()) == ["commits", "mirror.git", "used"]


FIND = """
import sys; from pathlib import Path; from dataclasses import replace; from scaffolder.config import Settings
from scaffolder.generation.templates.sources import find_template
settings = replace(Settings(), cache_dir=Path(sys.argv[2]), allowed_templates='*://*')
print('begins', flush=True); find_template(sys.argv[1], settings=settings)
"""
# The last argument of init is the directory; its HEAD is what git writes first.
KILLING_GIT = """#!/bin/sh
for directory; do :; done
case " $* " in *" init "*) mkdir "$directory"; echo "ref: refs/heads/main" >"$directory/HEAD"; kill -9 $PPID; exit 1; esac
exec {git} "$@"
"""


def test_a_fetch_killed_while_the_mirror_is_made_is_completed(
    settings: Settings, repository: Path, tmp_path: Path
) -> None:
    commit_tree(repository, "v1")
    reference = f"git+file://{repository}@v1"
    write_tree(tmp_path / "bin", {"git": KILLING_GIT.format(git=shutil.which("git"))})
    (tmp_path / "bin" / "git").chmod(0o755)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
    }
    command = [sys.executable, "-c", FIND, reference, str(settings.cache_dir)]
    assert subprocess.run(command, env=environment, check=False).returncode == -9
    assert len(render(reference, settings)) == 1


def test_a_fetch_killed_at_any_moment_leaves_nothing_half(settings: Settings, repository: Path, tmp_path: Path) -> None:
    write_tree(repository, {f"{{{{cookiecutter.name}}}}/{n}.bin": os.urandom(20_000) for n in range(100)})
    commit_tree(repository, "v1")
    reference = f"git+file://{repository}@v1"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for delay in (0.0, 0.05, 0.1, 0.2):
        with subprocess.Popen(
            [sys.executable, "-c", FIND, reference, str(settings.cache_dir)],
            env=environment,
            stdout=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            threading.Event().wait(delay)
            os.killpg(process.pid, 9)
    files = render(reference, settings)
    assert len(files) == 101


def test_workers_may_fetch_at_the_same_time(settings: Settings, repository: Path) -> None:
    commit_tree(repository, "v1")
    results: list[str] = []

    def find() -> None:
        results.append(find_template(f"git+file://{repository}@v1", settings=settings).version)

    threads = [threading.Thread(target=find) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert len(set(results)) == 1


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../../../etc/passwd", "../../service2/x", "."])
def test_links_that_lead_out_of_a_template_are_refused_by_name(settings: Settings, target: str) -> None:
    directory = write_tree(settings.templates_dir / "service", COOKIECUTTER)
    (directory / "{{cookiecutter.name}}" / "link").symlink_to(target)
    if target == ".":
        find_template("service", settings=settings)
        return
    with pytest.raises(TemplateError, match=r"has links that lead out of it: \['\{\{cookiecutter.name\}\}/link'\]"):
        find_template("service", settings=settings)


def test_links_out_of_a_template_from_git_are_refused_too(settings: Settings, tmp_path: Path) -> None:
    repository = write_tree(tmp_path / "many", {f"t/{path}": text for path, text in COOKIECUTTER.items()})
    (repository / "t" / "secrets").symlink_to("../../../../mirror.git")
    commit_tree(repository, "v1")
    with pytest.raises(TemplateError, match=r"links that lead out of it: \['secrets'\]"):
        find_template(f"git+file://{repository}@v1#subdirectory=t", settings=settings)


def test_a_subdirectory_that_is_a_link_out_is_refused(settings: Settings, tmp_path: Path) -> None:
    repository = write_tree(tmp_path / "many", {"a": ""})
    (repository / "t").symlink_to("/")
    commit_tree(repository, "v1")
    with pytest.raises(TemplateError, match="there is no directory 't'"):
        find_template(f"git+file://{repository}@v1#subdirectory=t", settings=settings)


def test_a_repository_of_directories_in_directories_is_not_written(settings: Settings, repository: Path) -> None:
    blob = run_git(write_tree(repository, {"x": ""}), "init", "-q") or "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    run_git(repository, "hash-object", "-w", "x")
    stream = f"commit refs/heads/main\ncommitter X <x@x> 1 +0000\ndata 1\nx\nM 100644 {blob} {'a/' * 1000}x\n"
    subprocess.run(["git", "fast-import", "--quiet"], cwd=repository, input=stream.encode(), check=True)
    commit = run_git(repository, "rev-parse", "refs/heads/main")
    with pytest.raises(LimitExceededError, match="which is deeper than 256"):
        find_template(f"git+file://{repository}@{commit}", settings=settings)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ({"max_project_files": 1}, r"has more than 1 files \(SCAFFOLDER_MAX_PROJECT_FILES\)"),
        ({"max_project_size": 10}, r"has more than 10 bytes \(SCAFFOLDER_MAX_PROJECT_SIZE\)"),
    ],
)
def test_a_repository_over_the_limits_is_not_written(
    settings: Settings, repository: Path, limit: dict[str, int], message: str
) -> None:
    commit_tree(repository, "v1")
    with pytest.raises(LimitExceededError, match=message):
        find_template(f"git+file://{repository}@v1", settings=replace(settings, **limit))
    assert not list(settings.cache_dir.glob("templates/*/commits/*"))


def test_a_cache_that_cannot_be_written_names_its_setting(settings: Settings, repository: Path) -> None:
    commit_tree(repository, "v1")
    settings.cache_dir.write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written: .*Check SCAFFOLDER_CACHE_DIR"):
        find_template(f"git+file://{repository}@v1", settings=settings)


def test_hooks_and_configuration_of_a_repository_have_no_effect(
    settings: Settings, repository: Path, tmp_path: Path
) -> None:
    commit_tree(repository, "v1")
    hook = repository / ".git" / "hooks" / "post-checkout"
    write_tree(repository, {".git/hooks/post-checkout": f"#!/bin/sh\ntouch {tmp_path}/ran\n"})
    hook.chmod(0o755)
    run_git(repository, "config", "uploadpack.packObjectsHook", f"touch {tmp_path}/ran; git pack-objects")
    render(f"git+file://{repository}@v1", settings)
    assert not (tmp_path / "ran").exists()


def test_a_checkout_has_the_bytes_of_a_clone(settings: Settings, repository: Path) -> None:
    write_tree(
        repository,
        {
            ".gitattributes": "*.bat eol=crlf\n*.txt export-subst\nhidden export-ignore\n",
            "{{cookiecutter.name}}/run.bat": "echo\n",
            "{{cookiecutter.name}}/v.txt": "$Format:%H$",
            "hidden/x": "",
        },
    )
    commit_tree(repository, "v1")
    files = render(f"git+file://{repository}@v1", settings)
    assert (files["run.bat"], files["v.txt"]) == (b"echo\r\n", b"$Format:%H$")


def test_submodules_are_never_fetched(settings: Settings, repository: Path, tmp_path: Path) -> None:
    inner = write_tree(tmp_path / "inner", {"secret": "x"})
    commit_tree(inner)
    commit_tree(repository)
    run_git(repository, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", f"file://{inner}", "sub")
    commit_tree(repository, "v1")
    assert render(f"git+file://{repository}@v1", settings) == {"a.txt": b"one"}
    assert not list(settings.cache_dir.rglob("secret"))


@pytest.mark.parametrize(
    "module", ["jinja2", "yaml", "git", "copier", "cookiecutter", "pathspec", "jsonschema", "airflow"]
)
def test_checking_a_git_reference_imports_nothing_heavy(module: str) -> None:
    program = (
        "import sys; from dataclasses import replace; from scaffolder.config import Settings\n"
        "from scaffolder.generation.templates.sources import check_reference\n"
        "check_reference('git+https://h/t.git@v1', settings=replace(Settings(), allowed_templates='*://*'))\n"
        "sys.exit(sys.argv[1] in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", program, module], env=environment, check=False).returncode == 0
