"""Copier templates: what Copier's own command makes, and what hostile templates don't get."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from scaffolder.config import Settings
from scaffolder.errors import LimitExceededError, TemplateError, TemplateNotAllowedError
from scaffolder.generation.git_remote import GitRemote
from scaffolder.generation.templates.foreign.copier import CopierTemplate
from scaffolder.generation.templates.sources import find_template, open_template
from tests.servers import serve_git
from tests.unit.templates.trees import commit_tree, read_tree, run_git, run_tool, write_tree

Tree = dict[str, tuple[bytes, bool]]

ANSWERS = "{{ _copier_conf.answers_file }}.jinja"
ANSWERS_TEXT = "# Changes here will be overwritten\n{{ _copier_answers|to_nice_yaml -}}\n"


def render(location: Path | str, settings: Settings, *, trust: bool = False, **values: Any) -> Tree:
    template = open_template(str(location), settings=settings)
    files = template.render(values, run={}, trust=trust, settings=settings)
    assert {file.origin for file in files} <= {template.origin}
    return {file.path: (file.content, file.executable) for file in files}


def run_copier(source: str, tmp_path: Path, *options: str, path: tuple[Path, ...] = (), **values: Any) -> Tree:
    home = tmp_path / "their-home"
    home.mkdir(parents=True, exist_ok=True)
    (home / "values.yml").write_text(json.dumps(values))
    options = ("--defaults", "--quiet", "--data-file", str(home / "values.yml"), *options)
    run_tool("copier", "copy", *options, source, str(home / "project"), home=home, path=path)
    return read_tree(home / "project")


FEATURES: dict[str, tuple[dict[str, bytes | str], dict[str, Any]]] = {
    "questions of every type": (
        {
            "copier.yml": """
                name: {type: str, help: Name, validator: "{% if not name %}empty{% endif %}"}
                count: {type: int, default: 3}
                ratio: {type: float, default: 0.5}
                docker: {type: bool, default: true}
                license: {choices: {MIT licence: MIT, Apache: "Apache-2.0"}, default: MIT}
                tools: {type: str, multiselect: true, choices: [ruff, mypy, pytest], default: [ruff]}
                extra: {type: yaml, default: {a: [1, 2]}}
                raw: {type: json, default: "[1, 2]"}
                slug: {type: str, default: "{{ name | lower | replace(' ', '-') }}", when: false}
                token: {type: str, secret: true, default: none}
                port: {type: int, default: 8000, when: "{{ docker }}"}
            """,
            "all.txt.jinja": "{{ name }} {{ count + 1 }} {{ ratio }} {{ docker }} {{ license }} {{ tools }} {{ extra.a }} "
            "{{ raw }} {{ slug }} {{ token }} {{ port }}\n",
            ANSWERS: ANSWERS_TEXT,
        },
        {"name": "My Thing", "count": 7, "tools": ["mypy", "pytest"], "docker": False, "license": "Apache-2.0"},
    ),
    "conditional files, directories and loops": (
        {
            "copier.yml": "items: {type: yaml, default: [a, b]}\nci: {type: bool, default: true}\n",
            "{% if ci %}.github{% endif %}/workflows/ci.yml": "on: push\n",
            "{% if not ci %}none.txt{% endif %}": "",
            "{% yield item from items %}{{ item }}{% endyield %}/{{ item }}.py.jinja": "NAME = '{{ item }}'\n",
            "deep/er/and/deeper/file": "x",
        },
        {"items": ["one", "two", "three"]},
    ),
    "bytes and modes": (
        {
            "copier.yml": "name: x\n",
            "logo.bin": bytes(range(256)),
            "logo.bin.jinja-not": b"\xff\xfe",
            "crlf.txt.jinja": "a {{ name }}\r\nb\r\n",
            "bom.txt.jinja": "\ufeff{{ name }}\n",
            "none.txt.jinja": "{{ name }}",
            "bin/run.sh": "#!/bin/sh\n",
            "bin/made.sh.jinja": "#!/bin/sh\necho {{ name }}\n",
            "ünï.txt": "é",
        },
        {},
    ),
    "exclusions, a subdirectory and a suffix": (
        {
            "copier.yaml": "_subdirectory: template\n_templates_suffix: .tmpl\n_exclude: ['*.bak', docs]\n"
            "_skip_if_exists: [keep.txt]\n_envops: {block_start_string: '[%', block_end_string: '%]',"
            " variable_start_string: '[[', variable_end_string: ']]'}\nname: x\n",
            "outside.txt": "no",
            "template/a.txt.tmpl": "[[ name ]] {{ name }}\n",
            "template/b.txt.jinja": "[[ name ]]",
            "template/old.bak": "",
            "template/docs/index.md": "",
            "template/keep.txt": "kept",
            "template/copier.yaml": "a file of the project",
        },
        {},
    ),
    "several documents and parts of the definition": (
        {
            "copier.yml": "!include parts/*.yml\n---\n_exclude: ['parts']\n_secret_questions: [b]\n",
            "parts/a.yml": "a: {type: str, default: one}\n",
            "parts/b.yml": "b: {type: str, default: two}\n",
            "macros.jinja": "{% macro hello(x) %}Hello {{ x }}{% endmacro %}",
            "text.jinja": "{% from 'macros.jinja' import hello %}{{ hello(a) }} {{ b }} {{ a | to_json }}\n",
        },
        {"a": "three"},
    ),
}


@pytest.mark.parametrize("feature", FEATURES)
def test_makes_what_copiers_own_command_makes(foreign_settings: Settings, tmp_path: Path, feature: str) -> None:
    files, values = FEATURES[feature]
    executable = [path for path in files if path.startswith("bin/")]
    directory = write_tree(tmp_path / "template", files, executable=executable)
    expected = run_copier(str(directory), tmp_path, **values)
    assert render(directory, foreign_settings, **values) == expected
    assert expected


def test_a_template_in_git_gets_the_answers_that_copiers_own_command_writes(
    foreign_settings: Settings, tmp_path: Path
) -> None:
    repository = write_tree(tmp_path / "repository.git", {"copier.yml": "name: x\n", ANSWERS: ANSWERS_TEXT})
    first = commit_tree(repository, "v1.0.0")
    write_tree(repository, {"run.sh": "#!/bin/sh\n"}, executable=["run.sh"])
    second = commit_tree(repository)
    write_tree(repository, {"later": ""})
    commit_tree(repository, "v2.0.0")
    url = f"file://{repository}"
    described = {"v1.0.0": "v1.0.0", "v2.0.0": "v2.0.0", first: "v1.0.0", second: rf"v1\.0\.0-1-g{second[:7]}.*"}
    for number, (ref, commit) in enumerate(described.items()):
        made = render(f"git+{url}@{ref}", foreign_settings, name="ada")
        expected = run_copier(url, tmp_path / str(number), "--vcs-ref", ref, name="ada")
        assert made == expected
        answers = yaml.safe_load(made[".copier-answers.yml"][0])
        assert (answers["_src_path"], answers["name"]) == (url, "ada")
        assert re.fullmatch(commit, answers["_commit"])


def test_a_url_that_copier_would_not_know_gets_its_prefix(foreign_settings: Settings, tmp_path: Path) -> None:
    repository = write_tree(tmp_path / "repository", {"copier.yml": "name: x\n", ANSWERS: ANSWERS_TEXT})
    commit_tree(repository, "v1")
    made = render(f"git+file://{repository}@v1", foreign_settings)
    assert made == run_copier(f"git+file://{repository}", tmp_path, "--vcs-ref", "v1")


def test_a_generated_project_can_be_updated_by_copier_later(foreign_settings: Settings, tmp_path: Path) -> None:
    repository = write_tree(tmp_path / "repository.git", {"copier.yml": "name: x\n", ANSWERS: ANSWERS_TEXT, "a": "1"})
    commit_tree(repository, "v1.0.0")
    made = render(f"git+file://{repository}@v1.0.0", foreign_settings, name="ada")
    project = write_tree(tmp_path / "project", {path: content for path, (content, _) in made.items()})
    commit_tree(project)
    write_tree(repository, {"a": "2", "b.jinja": "{{ name }}"})
    commit_tree(repository, "v2.0.0")
    run_tool("copier", "update", "--defaults", "--quiet", str(project), home=tmp_path / "their-home")
    assert ((project / "a").read_text(), (project / "b").read_text()) == ("2", "ada")


def test_a_template_in_git_is_rendered_from_this_machine_alone(foreign_settings: Settings, tmp_path: Path) -> None:
    repository = write_tree(tmp_path / "repository", {"copier.yml": "name: x\n", "a.jinja": "{{ name }}"})
    commit_tree(repository, "v1")
    reference = f"git+file://{repository}@v1"
    first = render(reference, foreign_settings)
    repository.rename(tmp_path / "gone")
    assert render(reference, foreign_settings) == first == {"a": (b"x", False)}


def test_a_private_template_is_rendered_without_its_host_and_password(
    foreign_settings: Settings, tmp_path: Path
) -> None:
    repository = write_tree(tmp_path / "repository", {"copier.yml": "name: x\n", ANSWERS: ANSWERS_TEXT})
    commit_tree(repository, "v1")
    (tmp_path / "git").mkdir()
    with serve_git(tmp_path / "git") as server:
        run_git(repository, "push", "-q", "--mirror", str(server.create("templates")))
        remote = GitRemote(url=server.url, username=server.username, password=server.password)
        template = find_template(f"git+{server.url}/templates.git@v1", settings=foreign_settings, remote=remote)
    (file,) = template.render({}, run={}, trust=False, settings=foreign_settings)
    assert yaml.safe_load(file.content) == {"_commit": "v1", "_src_path": f"{server.url}/templates.git", "name": "x"}


def test_a_large_history_is_no_large_file(foreign_settings: Settings, tmp_path: Path) -> None:
    repository = write_tree(tmp_path / "repository", {"copier.yml": "name: x\n", "old.bin": os.urandom(300_000)})
    commit_tree(repository)
    (repository / "old.bin").unlink()
    commit_tree(repository, "v1")
    settings = replace(foreign_settings, max_file_size=10_000)
    assert render(f"git+file://{repository}@v1", settings) == {}


def test_a_template_below_a_repositorys_root_is_named_by_its_reference(
    foreign_settings: Settings, tmp_path: Path
) -> None:
    repository = write_tree(tmp_path / "many", {"t/copier.yml": "name: x\n", f"t/{ANSWERS}": ANSWERS_TEXT})
    commit = commit_tree(repository, "v1")
    reference = f"git+file://{repository}@v1#subdirectory=t"
    answers = yaml.safe_load(render(reference, foreign_settings)[".copier-answers.yml"][0])
    assert answers == {"_commit": commit, "_src_path": reference, "name": "x"}


def test_a_directory_is_taken_as_it_is_also_where_it_is_a_repository(
    foreign_settings: Settings, tmp_path: Path
) -> None:
    directory = write_tree(tmp_path / "template", {"copier.yml": "name: x\n", "a.txt": "one", ANSWERS: ANSWERS_TEXT})
    commit_tree(directory, "v1")
    write_tree(directory, {"a.txt": "changed"})
    made = render(directory, foreign_settings)
    assert made["a.txt"] == (b"changed", False)
    assert yaml.safe_load(made[".copier-answers.yml"][0]) == {"_src_path": str(directory), "name": "x"}
    assert run_git(directory, "status", "--porcelain") == "M a.txt"


def test_the_public_template_is_refused_without_trust_and_equal_with_it(
    foreign_settings: Settings, tmp_path: Path, downloaded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(downloaded / "packages"))
    values = {
        "project_name": "thing",
        "org": "acme",
        "url": "https://github.com/acme/thing",
        "full_name": "Ada Lovelace",
        "email": "ada@example.com",
        "project_short_description": "A thing.",
        "license": "MIT",
        "backend": "hatch",
        "docs": "sphinx",
        "vcs": True,
    }
    template = downloaded / "template"
    with pytest.raises(TemplateNotAllowedError, match=r"copier.yml: _jinja_extensions, 'helpers/extensions.py:Cook"):
        render(template, foreign_settings, **values)
    made = render(template, foreign_settings, trust=True, **values)
    assert made == run_copier(str(template), tmp_path, "--trust", path=(downloaded / "packages",), **values)
    assert len(made) > 20


DEMANDS: list[tuple[str, str]] = [
    ("_tasks: ['touch {marker}']", r"copier.yml: _tasks\[0\], 'touch "),
    ("_tasks: [[touch, '{marker}']]", r"copier.yml: _tasks\[0\], \['touch', "),
    ("_tasks: [{{command: 'touch {marker}', when: false}}]", r"copier.yml: _tasks\[0\]"),
    ("_jinja_extensions: [evil.Extension]", "copier.yml: _jinja_extensions, 'evil.Extension'"),
    ("!include part.yml\n---\nname: x", r"copier.yml: _tasks\[0\], 'touch "),
]


@pytest.mark.parametrize(("definition", "message"), DEMANDS)
@pytest.mark.parametrize(("trust", "allowed"), [(False, True), (True, False), (False, False)])
def test_code_of_the_author_needs_both_switches(
    foreign_settings: Settings, tmp_path: Path, definition: str, message: str, trust: bool, allowed: bool
) -> None:
    marker = tmp_path / "ran"
    directory = write_tree(
        tmp_path / "template",
        {
            "copier.yml": definition.format(marker=marker),
            "part.yml": f"_tasks: ['touch {marker}']",
            "evil.py": f"open({str(marker)!r}, 'w')",
        },
    )
    settings = replace(foreign_settings, allow_trusted_templates=allowed)
    with pytest.raises(TemplateNotAllowedError, match=message) as caught:
        render(directory, settings, trust=trust)
    for switch in ("trust: true", "SCAFFOLDER_ALLOW_TRUSTED_TEMPLATES"):
        assert switch in str(caught.value)
    assert not marker.exists()


def test_migrations_need_trust_though_none_run(foreign_settings: Settings, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    definition = f"_migrations: [{{version: v1, command: 'touch {marker}'}}]\nname: x\n"
    directory = write_tree(tmp_path / "template", {"copier.yml": definition, "a": ""})
    with pytest.raises(TemplateNotAllowedError, match=r"copier\.yml: _migrations"):
        render(directory, foreign_settings)
    assert set(render(directory, foreign_settings, trust=True)) == {"a"}
    assert not marker.exists()


def test_trusted_tasks_run_and_a_git_directory_they_make_is_left_out(
    foreign_settings: Settings, tmp_path: Path
) -> None:
    definition = (
        "name: x\n_tasks: ['git init -q && git add -A && git commit -q -m {{ name }}', 'echo hi > made; cat']\n"
    )
    directory = write_tree(tmp_path / "template", {"copier.yml": definition, "a": "1"})
    assert render(directory, foreign_settings, trust=True) == {"a": (b"1", False), "made": (b"hi\n", False)}


def test_a_failed_task_is_named_with_its_last_words(foreign_settings: Settings, tmp_path: Path) -> None:
    definition = "_tasks: ['echo the disk is upside down >&2; exit 3']\n"
    directory = write_tree(tmp_path / "template", {"copier.yml": definition, "a": ""})
    with pytest.raises(TemplateError, match=r"exit status 3.*\(it said: the disk is upside down\)"):
        render(directory, foreign_settings, trust=True)


def test_a_task_sees_nothing_of_the_workers_environment(
    foreign_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SECRET", "t0ken")
    directory = write_tree(tmp_path / "template", {"copier.yml": "_tasks: ['env > env.txt']\n", "a": ""})
    made = render(directory, foreign_settings, trust=True)["env.txt"][0].decode()
    assert "t0ken" not in made
    assert f"HOME={Path.home()}" not in made


HOSTILE: dict[str, tuple[dict[str, str], str]] = {
    "a subdirectory outside": ({"copier.yml": "_subdirectory: ../secrets"}, "forbidden|reaches for"),
    "a computed subdirectory": (
        {"copier.yml": "where: {default: '../secrets'}\n_subdirectory: '{{ where }}'"},
        "forbidden|reaches for",
    ),
    "a definition from outside": ({"copier.yml": "!include ../secrets/*"}, "forbidden|reaches for|Unacceptable"),
    "data from outside": (
        {
            "copier.yml": "_external_data: {s: ../../../../../../{secrets}/token.yml}",
            "a.jinja": "{{ _external_data.s }}",
        },
        "forbidden|reaches for",
    ),
    "an answers file outside": (
        {"copier.yml": "_answers_file: ../../../escaped.yml", ANSWERS: ANSWERS_TEXT},
        "forbidden|reaches for",
    ),
    "an absolute answers file": (
        {"copier.yml": "_answers_file: {marker}", ANSWERS: ANSWERS_TEXT},
        "AssertionError|forbidden|reaches for",
    ),
    "a file's name outside": (
        {"copier.yml": "up: {default: '../../..'}", "{{ up }}{{ _copier_conf.sep }}escaped": ""},
        "forbidden|reaches for",
    ),
    "an absolute file name": (
        {"copier.yml": "place: {default: '{marker}'}", "{{ place }}": ""},
        "forbidden|reaches for",
    ),
    "an included text from outside": (
        {"copier.yml": "", "a.jinja": "{% include '../secrets/token.yml' %}"},
        "TemplateNotFound",
    ),
    "Python's own objects": ({"copier.yml": "", "a.jinja": "{{ ''.__class__.__mro__ }}"}, "unsafe"),
    "Python's own objects in a default": (
        {"copier.yml": "a: {default: '{{ cycler.__init__.__globals__ }}'}"},
        "unsafe",
    ),
    "Python's own objects in a choice": (
        {"copier.yml": "a: {choices: ['{{ cycler.__init__.__globals__ }}'], default: b}"},
        "unsafe",
    ),
    "Python's own objects in a condition": (
        {"copier.yml": "a: {default: 1, when: '{{ cycler.__init__.__globals__ }}'}"},
        "unsafe",
    ),
    "Python's own objects in a file name": ({"copier.yml": "", "{{ cycler.__init__.__globals__ }}": ""}, "unsafe"),
    "a file read through the settings": (
        {"copier.yml": "", "a.jinja": "{{ _copier_conf.settings.parse_file('{secrets}/token.yml') }}"},
        "unsafe|reaches for",
    ),
    "a file read through a path": (
        {"copier.yml": "", "a.jinja": "{{ (_copier_conf.src_path).read_text() }}"},
        "no attribute",
    ),
    "a link that is kept": (
        {"copier.yml": "_preserve_symlinks: true", "a": "", "link": "-> a"},
        r"has links or devices: \['link'\]",
    ),
    "two definitions": ({"copier.yml": "", "copier.yaml": ""}, "Multiple configuration|MultipleConfig|copier.y"),
    "a definition that is no YAML": ({"copier.yml": "a: [", "b": ""}, "copier.yml: while parsing a flow node"),
    "a definition that is a list": ({"copier.yml": "[[1]]"}, "cannot be rendered by Copier"),
    "a newer Copier": ({"copier.yml": "_min_copier_version: '99'"}, "requires Copier version >= 99"),
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_hostile_template_neither_reads_nor_writes_outside(
    foreign_settings: Settings, tmp_path: Path, find_leftovers: Callable[[], list[Path]], attack: str
) -> None:
    files, message = HOSTILE[attack]
    secrets, marker = tmp_path / "secrets", tmp_path / "marker"
    write_tree(secrets, {"token.yml": "token: s3cret\n", "copier.yml": "s3cret: 1\n"})
    told = {"{secrets}": str(secrets).lstrip("/") if "../" in str(files) else str(secrets), "{marker}": str(marker)}
    directory = tmp_path / "template"
    for path, content in files.items():
        if content.startswith("-> "):
            (directory / path).symlink_to(content[3:])
            continue
        filled = content.replace("{secrets}", told["{secrets}"]).replace("{marker}", told["{marker}"])
        write_tree(directory, {path: filled})
    with pytest.raises(TemplateError, match=message) as caught:
        render(directory, foreign_settings)
    assert "s3cret" not in str(caught.value)
    assert not marker.exists()
    assert find_leftovers() == []
    assert not list(tmp_path.glob("escaped*"))


def test_a_persons_own_settings_of_copier_have_no_effect(
    foreign_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "ran"
    directory = write_tree(tmp_path / "template", {"copier.yml": "name: x\n", "a.jinja": "{{ name }}"})
    trusted = write_tree(tmp_path / "trusted", {"copier.yml": f"_tasks: ['touch {marker}']\n"})
    home = write_tree(
        tmp_path / "home", {".config/copier/settings.yml": f"defaults: {{name: wrong}}\ntrust: ['{trusted}']\n"}
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("COPIER_SETTINGS_PATH", str(home / ".config/copier/settings.yml"))
    assert render(directory, foreign_settings) == {"a": (b"x", False)}
    with pytest.raises(TemplateNotAllowedError):
        render(trusted, foreign_settings)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nmae": "x", "y": 1}, r"it has no values \['nmae', 'y'\]; accepted are \['count', 'kind', 'name'\]"),
        ({}, 'Question "name" is required'),
        ({"name": "x", "kind": "c"}, r"Invalid choice for 'kind': 'c' is not in \['a', 'b'\]"),
        ({"name": "x", "count": "many"}, "invalid literal for int|many"),
        ({"name": ""}, "Validation error for question 'name': must not be empty"),
        ({"name": {1, 2}}, "takes plain data as values"),
        ({"name": float("nan")}, "takes plain data as values"),
        ({"_tasks": ["x"], "name": "x"}, r"it has no values \['_tasks'\]"),
    ],
)
def test_values_that_the_template_refuses_are_named(
    foreign_settings: Settings, tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    definition = (
        "name: {type: str, validator: '{% if not name %}must not be empty{% endif %}'}\n"
        "kind: {choices: [a, b], default: a}\ncount: {type: int, default: 1}\n"
    )
    directory = write_tree(tmp_path / "template", {"copier.yml": definition})
    with pytest.raises(TemplateError, match=message) as caught:
        render(directory, foreign_settings, **values)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("trust", [True, False])
def test_values_are_never_rendered(foreign_settings: Settings, tmp_path: Path, trust: bool) -> None:
    text = "{{ 7*7 }}{% raw %}"
    directory = write_tree(
        tmp_path / "template", {"copier.yml": "a: x\nb: '{{ a }}'\n", "t.jinja": "{{ a }}|{{ b }}", "{{ a }}.txt": ""}
    )
    made = render(directory, foreign_settings, trust=trust, a=text)
    assert made == {"t": (f"{text}|{text}".encode(), False), f"{text}.txt": (b"", False)}


LIMITS: list[tuple[dict[str, str], dict[str, int], str]] = [
    (
        {"a.jinja": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"},
        {"render_cpu_seconds": 2},
        "SCAFFOLDER_RENDER_CPU_SECONDS",
    ),
    ({"a.jinja": "{{ 'a' * 900000000 }}"}, {}, "SCAFFOLDER_RENDER_MEMORY_SIZE"),
    ({"a.jinja": "{{ 'a' * 10001 }}"}, {"max_file_size": 10_000}, "SCAFFOLDER_MAX_FILE_SIZE"),
    (
        {"{% yield i from range(99999) %}{{ i }}{% endyield %}": ""},
        {"max_project_files": 200},
        "SCAFFOLDER_MAX_PROJECT_FILES",
    ),
    (
        {"{% yield i from range(2000) %}{{ i }}{% endyield %}.jinja": "{{ 'a' * 5000 }}"},
        {"max_project_size": 1_000_000},
        "SCAFFOLDER_MAX_PROJECT_SIZE",
    ),
]


@pytest.mark.parametrize(("files", "limits", "setting"), LIMITS)
def test_a_bomb_is_stopped_at_its_limit(
    foreign_settings: Settings,
    tmp_path: Path,
    find_leftovers: Callable[[], list[Path]],
    files: dict[str, str],
    limits: dict[str, int],
    setting: str,
) -> None:
    directory = write_tree(tmp_path / "template", {"copier.yml": "name: x\n", **files})
    with pytest.raises(LimitExceededError, match=setting):
        render(directory, replace(foreign_settings, **limits))
    assert find_leftovers() == []


def test_a_task_that_never_ends_is_stopped_with_all_that_it_started(foreign_settings: Settings, tmp_path: Path) -> None:
    definition = f"_tasks: ['sleep 987 & echo $! > {tmp_path}/pid; wait']\n"
    directory = write_tree(tmp_path / "template", {"copier.yml": definition, "a": ""})
    with pytest.raises(LimitExceededError, match="SCAFFOLDER_RENDER_TIMEOUT_SECONDS"):
        render(directory, replace(foreign_settings, render_timeout_seconds=4), trust=True)
    status = Path("/proc", (tmp_path / "pid").read_text().strip(), "status")
    assert not status.exists() or "State:\tZ" in status.read_text()


def test_a_template_with_submodules_is_refused(foreign_settings: Settings, tmp_path: Path) -> None:
    inner = write_tree(tmp_path / "inner", {"secret": "x"})
    commit_tree(inner)
    repository = write_tree(tmp_path / "repository", {"copier.yml": "name: x\n"})
    commit_tree(repository)
    run_git(repository, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", f"file://{inner}", "sub")
    commit_tree(repository, "v1")
    with pytest.raises(TemplateError, match=r"has submodules \(.gitmodules\), which are not fetched"):
        render(f"git+file://{repository}@v1", foreign_settings)


def test_inspection_lists_demands_and_values_and_runs_nothing(foreign_settings: Settings, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    definition = f"name: x\nother: 1\n_tasks: ['touch {marker}']\n"
    template = open_template(
        str(write_tree(tmp_path / "template", {"copier.yml": definition})), settings=foreign_settings
    )
    assert isinstance(template, CopierTemplate)
    inspection = template.inspect(settings=foreign_settings)
    assert (inspection.demands, inspection.names) == ((f"copier.yml: _tasks[0], 'touch {marker}'",), ("name", "other"))
    assert not marker.exists()


def test_without_copier_the_error_says_what_to_install(
    foreign_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = str(write_tree(tmp_path / "template", {"copier.yml": "name: x\n"}))
    open_template(directory, settings=foreign_settings)
    monkeypatch.delitem(sys.modules, "copier", raising=False)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if "site-packages" not in path])
    with pytest.raises(TemplateError, match=r"install airflow-scaffolder\[copier\]"):
        open_template(directory, settings=foreign_settings)


def test_opening_a_template_imports_neither_copier_nor_jinja(tmp_path: Path) -> None:
    directory = write_tree(tmp_path / "template", {"copier.yml": "name: x\n"})
    program = (
        "import sys; from scaffolder.config import Settings\n"
        "from scaffolder.generation.templates.sources import open_template\n"
        "open_template(sys.argv[1], settings=Settings()).version\n"
        "sys.exit(' '.join({'copier', 'jinja2', 'yaml', 'git', 'airflow'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    finished = subprocess.run(
        [sys.executable, "-c", program, str(directory)], env=environment, check=False, capture_output=True, text=True
    )
    assert finished.stderr.strip() == ""
