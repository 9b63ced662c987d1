"""Cookiecutter templates: what Cookiecutter's own command makes, and what hostile templates don't get."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scaffolder.config import Settings
from scaffolder.errors import LimitExceededError, StorageError, TemplateError, TemplateNotAllowedError
from scaffolder.generation.templates.foreign.cookiecutter import CookiecutterTemplate
from scaffolder.generation.templates.foreign.template import ForeignSource
from scaffolder.generation.templates.sources import open_template
from tests.unit.templates.trees import commit_tree, read_tree, run_tool, write_tree

Tree = dict[str, tuple[bytes, bool]]

ROOT = "{{cookiecutter.slug}}"
ESCAPE = "{{ cycler.__init__.__globals__.os.system('touch MARKER') }}"


def render(location: Path | str, settings: Settings, *, trust: bool = False, **values: Any) -> Tree:
    template = open_template(str(location), settings=settings)
    files = template.render(values, run={}, trust=trust, settings=settings)
    assert {file.origin for file in files} <= {template.origin}
    return {file.path: (file.content, file.executable) for file in files}


def run_cookiecutter(source: str, tmp_path: Path, *options: str, **values: str) -> Tree:
    home = tmp_path / "their-home"
    output = home / "output"
    output.mkdir(parents=True)
    given = [f"{name}={value}" for name, value in values.items()]
    run_tool("cookiecutter", "--no-input", "--output-dir", str(output), *options, source, *given, home=home)
    (made,) = output.iterdir()
    return read_tree(made)


def define(*, first: dict[str, Any] | None = None, **values: Any) -> str:
    return json.dumps({**(first or {"slug": "thing"}), **values})


FEATURES: dict[str, tuple[dict[str, bytes | str], dict[str, str]]] = {
    "values of every kind": (
        {
            "cookiecutter.json": define(
                first={
                    "name": "My Thing",
                    "slug": "{{ cookiecutter.name.lower().replace(' ', '-') }}",
                },
                license=["MIT", "Apache-2.0", "{{ cookiecutter.name }} licence"],
                docker=True,
                count="3",
                _private="p {{ not rendered }}",
                __computed="{{ cookiecutter.slug | slugify }}",
                tools={"lint": {"name": "{{ cookiecutter.name }}"}},
                __prompts__={"name": "Name?"},
            ),
            f"{ROOT}/all.txt": "{{ cookiecutter.name }} {{ cookiecutter.slug }} {{ cookiecutter.license }} "
            "{{ cookiecutter.docker }} {{ cookiecutter.count }} {{ cookiecutter._private }} {{ cookiecutter.__computed }} "
            "{{ cookiecutter.tools | jsonify }} {{ cookiecutter.tools.lint.name }} {% now 'utc', '%Y' %}\n",
        },
        {"name": "Ada's Thing", "license": "{{ cookiecutter.name }} licence", "docker": "no"},
    ),
    "conditional files and directories": (
        {
            "cookiecutter.json": define(ci="yes"),
            f"{ROOT}/{{% if cookiecutter.ci == 'yes' %}}ci.yml{{% endif %}}": "on: push\n",
            f"{ROOT}/{{% if cookiecutter.ci == 'no' %}}none.yml{{% endif %}}": "",
            f"{ROOT}/{{{{cookiecutter.slug}}}}/deep/er/__init__.py": "",
            f"{ROOT}/.hidden": "x",
        },
        {"slug": "other"},
    ),
    "bytes and modes": (
        {
            "cookiecutter.json": define(),
            f"{ROOT}/logo.bin": bytes(range(256)),
            f"{ROOT}/crlf.txt": "a {{ cookiecutter.slug }}\r\nb\r\n",
            f"{ROOT}/none.txt": "{{ cookiecutter.slug }}",
            f"{ROOT}/bin/run.sh": "#!/bin/sh\necho {{ cookiecutter.slug }}\n",
            f"{ROOT}/ünï.txt": "é",
            f"{ROOT}/empty": "",
        },
        {},
    ),
    "newlines of its own": (
        {"cookiecutter.json": define(_new_lines="\r\n"), f"{ROOT}/a.txt": "a\nb\n"},
        {},
    ),
    "copies and other marks": (
        {
            "cookiecutter.json": define(
                _copy_without_render=["*.html", "raw", "raw/*"],
                _jinja2_env_vars={"trim_blocks": True, "lstrip_blocks": True},
            ),
            f"{ROOT}/page.html": "{{ untouched }}",
            f"{ROOT}/raw/{{{{cookiecutter.slug}}}}.txt": "{{ untouched }}",
            f"{ROOT}/a.txt": "{% if true %}\n  a\n{% endif %}\nb\n",
        },
        {},
    ),
    "texts of the template": (
        {
            "cookiecutter.json": define(),
            "templates/macros.txt": "{% macro hello(x) %}Hello {{ x }}{% endmacro %}",
            f"{ROOT}/a.txt": "{% from 'macros.txt' import hello %}{{ hello(cookiecutter.slug) }}",
            f"{ROOT}/b.txt": "{% set _ = cookiecutter.update({'extra': 'added'}) %}{{ cookiecutter.extra }}",
            "README.md": "not part of it",
        },
        {},
    ),
    "a choice of templates, old": (
        {
            "cookiecutter.json": json.dumps({"template": ["First (./one)", "Second (./two)"]}),
            "one/cookiecutter.json": define(),
            f"one/{ROOT}/one.txt": "1",
            "two/cookiecutter.json": define(),
            f"two/{ROOT}/two.txt": "2 {{ cookiecutter.slug }}",
        },
        {"template": "Second (./two)", "slug": "other"},
    ),
    "a choice of templates": (
        {
            "cookiecutter.json": json.dumps({"templates": {"one": {"path": "./in/one"}, "two": {"path": "./two"}}}),
            "in/one/cookiecutter.json": define(),
            f"in/one/{ROOT}/one.txt": "1 {{ cookiecutter.slug }}",
            "two/cookiecutter.json": define(),
        },
        {},
    ),
}


@pytest.mark.parametrize("feature", FEATURES)
def test_makes_what_cookiecutters_own_command_makes(foreign_settings: Settings, tmp_path: Path, feature: str) -> None:
    files, values = FEATURES[feature]
    directory = write_tree(tmp_path / "template", files, executable=[f"{ROOT}/bin/run.sh"])
    expected = run_cookiecutter(str(directory), tmp_path, **values)
    assert render(directory, foreign_settings, **values) == expected
    assert expected


def test_a_template_in_git_knows_the_url_and_ref_that_it_comes_from(foreign_settings: Settings, tmp_path: Path) -> None:
    text = "{{ cookiecutter._template }} {{ cookiecutter._checkout }}"
    repository = write_tree(tmp_path / "repository.git", {"cookiecutter.json": define(), f"{ROOT}/a.txt": text})
    commit_tree(repository, "v1")
    made = render(f"git+file://{repository}@v1", foreign_settings)
    assert made == run_cookiecutter(f"file://{repository}", tmp_path, "--checkout", "v1")


def test_the_public_template_is_equal(foreign_settings: Settings, tmp_path: Path, downloaded: Path) -> None:
    values = {"project_name": "thing", "org": "acme", "full_name": "Ada", "license": "MIT", "backend": "maturin"}
    directory = downloaded / "template"
    template = CookiecutterTemplate(ForeignSource(directory=directory, name="sp-repo-review"))
    files = template.render(values, run={}, trust=True, settings=foreign_settings)
    made = {file.path: (file.content, file.executable) for file in files}
    assert made == run_cookiecutter(str(directory), tmp_path, **values)
    assert len(made) > 15


def hooks(marker: Path) -> dict[str, dict[str, str]]:
    python = f"open({str(marker)!r}, 'w').close()"
    shell = f"#!/bin/sh\ntouch {marker}\n"
    extension = "from jinja2.ext import Extension\n" + python + "\nclass Evil(Extension): pass\n"
    return {
        "hooks/pre_prompt.py": {"hooks/pre_prompt.py": python},
        "hooks/pre_gen_project.py": {"hooks/pre_gen_project.py": python},
        "hooks/post_gen_project.sh": {"hooks/post_gen_project.sh": shell},
        "hooks/post_gen_project": {"hooks/post_gen_project": shell},
        "cookiecutter.json: _extensions, 'local_extensions.Evil'": {
            "local_extensions.py": extension,
            "cookiecutter.json": define(_extensions=["local_extensions.Evil"]),
        },
        "inner/hooks/post_gen_project.py": {
            "cookiecutter.json": json.dumps({"templates": {"inner": {"path": "inner"}}}),
            "inner/cookiecutter.json": define(),
            f"inner/{ROOT}/a": "",
            "inner/hooks/post_gen_project.py": python,
        },
    }


@pytest.mark.parametrize("demand", hooks(Path("x")))
def test_code_of_the_author_runs_with_both_switches_only(
    foreign_settings: Settings, tmp_path: Path, demand: str
) -> None:
    marker = tmp_path / "ran"
    files = {"cookiecutter.json": define(), f"{ROOT}/a": "1", **hooks(marker)[demand]}
    directory = write_tree(tmp_path / "template", files, executable=[path for path in files if "hooks/" in path])
    for trust, allowed in ((False, True), (True, False), (False, False)):
        with pytest.raises(TemplateNotAllowedError) as caught:
            render(directory, replace(foreign_settings, allow_trusted_templates=allowed), trust=trust)
        for part in (demand, "trust: true", "SCAFFOLDER_ALLOW_TRUSTED_TEMPLATES"):
            assert part in str(caught.value)
        assert not marker.exists()
    assert set(render(directory, foreign_settings, trust=True)) == {"a"}
    assert marker.exists()


def test_what_only_looks_like_a_hook_needs_no_trust(foreign_settings: Settings, tmp_path: Path) -> None:
    files = {"cookiecutter.json": define(), f"{ROOT}/a": "", "hooks/README.md": "", "hooks/pre_prompt.py~": "x"}
    assert set(render(write_tree(tmp_path / "template", files), foreign_settings)) == {"a"}


def test_trusted_hooks_work_as_with_cookiecutters_own_command(foreign_settings: Settings, tmp_path: Path) -> None:
    files = {
        "cookiecutter.json": define(_extensions=["local_extensions.shout", "jinja2.ext.do"], tests="no"),
        "local_extensions.py": "from cookiecutter.utils import simple_filter\n\n@simple_filter\ndef shout(text):\n    return text.upper() + '!'\n",
        "hooks/pre_prompt.py": "import json\nvalues = json.load(open('cookiecutter.json'))\nvalues['added'] = 'later'\njson.dump(values, open('cookiecutter.json', 'w'))\n",
        "hooks/post_gen_project.py": "import os, subprocess\nos.remove('tests.txt') if '{{ cookiecutter.tests }}' == 'no' else None\nsubprocess.run(['git', 'init', '-q'], check=True)\nprint('done')\ninput() if False else None\n",
        f"{ROOT}/a.txt": "{{ cookiecutter.slug | shout }} {{ cookiecutter.added }}",
        f"{ROOT}/tests.txt": "",
    }
    directory = write_tree(tmp_path / "template", files)
    made = render(directory, foreign_settings, trust=True)
    assert made == run_cookiecutter(str(directory), tmp_path) == {"a.txt": (b"THING! later", False)}
    assert read_tree(directory)["cookiecutter.json"] == (files["cookiecutter.json"].encode(), False)


def test_a_failed_hook_is_named_with_its_last_words(foreign_settings: Settings, tmp_path: Path) -> None:
    script = "import sys\nprint('the disk is upside down', file=sys.stderr)\nsys.exit(3)\n"
    files = {"cookiecutter.json": define(), f"{ROOT}/a": "", "hooks/pre_gen_project.py": script}
    with pytest.raises(TemplateError, match=r"exit status: 3\) \(it said: the disk is upside down\)"):
        render(write_tree(tmp_path / "template", files), foreign_settings, trust=True)


ESCAPES: dict[str, dict[str, str]] = {
    "content": {"cookiecutter.json": define(), f"{ROOT}/a": ESCAPE},
    "a file's name": {"cookiecutter.json": define(), f"{ROOT}/{ESCAPE}": ""},
    "a directory's name": {"cookiecutter.json": define(), f"{ROOT}/{ESCAPE}/a": ""},
    "the project's name": {"cookiecutter.json": define(), f"{ROOT}{ESCAPE}/a": ""},
    "a default": {"cookiecutter.json": define(evil=ESCAPE), f"{ROOT}/a": ""},
    "a choice": {"cookiecutter.json": define(evil=[ESCAPE, "b"]), f"{ROOT}/a": ""},
    "a mapping": {"cookiecutter.json": define(evil={ESCAPE: "x"}), f"{ROOT}/a": ""},
    "a computed value": {"cookiecutter.json": define(__evil=ESCAPE), f"{ROOT}/a": ""},
    "a copied file's name": {
        "cookiecutter.json": define(_copy_without_render=["*"]),
        f"{ROOT}/{ESCAPE}": "",
    },
    "a choice of templates": {"cookiecutter.json": json.dumps({"template": [f"{ESCAPE} (one)"]}), f"{ROOT}/a": ""},
    "an included text": {
        "cookiecutter.json": define(),
        "templates/b": ESCAPE,
        f"{ROOT}/a": "{% include 'b' %}",
    },
    "a filter's argument": {
        "cookiecutter.json": define(),
        f"{ROOT}/a": "{{ [cycler] | map(attribute='__init__') | first }}{{ (cycler|attr('__init__')).__globals__ }}",
    },
    "a format": {"cookiecutter.json": define(), f"{ROOT}/a": "{{ '{0.__init__.__globals__}'.format(cycler) }}"},
    "an extension's function": {
        "cookiecutter.json": define(),
        f"{ROOT}/a": "{{ random_ascii_string.__globals__.__builtins__.open('MARKER', 'w') }}",
    },
}


@pytest.mark.parametrize("place", ESCAPES)
def test_no_text_of_an_untrusted_template_leaves_the_sandbox(
    foreign_settings: Settings, tmp_path: Path, place: str
) -> None:
    marker = "ran"  # one name, without a slash, as a file's name takes no other
    files = {path.replace("MARKER", marker): text.replace("MARKER", marker) for path, text in ESCAPES[place].items()}
    directory = write_tree(tmp_path / "template", files)
    with pytest.raises(TemplateError, match="unsafe|not safely|SecurityError"):
        render(directory, foreign_settings)
    assert not list(tmp_path.rglob(marker))


@pytest.mark.parametrize("place", ["content", "a default", "a choice"])
def test_the_escapes_of_these_tests_do_work_without_a_sandbox(
    foreign_settings: Settings, tmp_path: Path, place: str
) -> None:
    marker = tmp_path / "ran"
    files = {path: text.replace("MARKER", str(marker)) for path, text in ESCAPES[place].items()}
    render(write_tree(tmp_path / "template", files), foreign_settings, trust=True)
    assert marker.exists()


OUTSIDE: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "a file's name": ({"cookiecutter.json": define(up="../../../"), f"{ROOT}/{{{{cookiecutter.up}}}}escaped": "x"}, {}),
    "an absolute file name": (
        {"cookiecutter.json": define(place="PLACE"), f"{ROOT}/{{{{cookiecutter.place}}}}": "x"},
        {},
    ),
    "a given value": (
        {"cookiecutter.json": define(place=""), f"{ROOT}/{{{{cookiecutter.place}}}}": "x"},
        {"place": "PLACE"},
    ),
    "a directory's name": (
        {"cookiecutter.json": define(up="../../../"), f"{ROOT}/{{{{cookiecutter.up}}}}escaped/a": "x"},
        {},
    ),
    "the project's name": ({"cookiecutter.json": define(slug="../../escaped"), f"{ROOT}/a": "x"}, {}),
    "an absolute project": ({"cookiecutter.json": define(slug="PLACE"), f"{ROOT}/a": "x"}, {}),
    "the project's parent": ({"cookiecutter.json": define(slug=".."), f"{ROOT}/a": "x"}, {}),
    "the project's own place": ({"cookiecutter.json": define(slug="."), f"{ROOT}/a": "x"}, {}),
    "a copied file": (
        {
            "cookiecutter.json": define(place="PLACE", _copy_without_render=["*"]),
            f"{ROOT}/{{{{cookiecutter.place}}}}": "x",
        },
        {},
    ),
    "a directory that is replaced": (
        {
            "cookiecutter.json": define(up="../../../../victim", _copy_without_render=["{{cookiecutter.up}}"]),
            f"{ROOT}/{{{{cookiecutter.up}}}}/a": "x",
        },
        {},
    ),
    "a template outside": ({"cookiecutter.json": json.dumps({"templates": {"x": {"path": "../other"}}})}, {}),
    "a text outside": ({"cookiecutter.json": define(), f"{ROOT}/a": "{% include '../../victim/kept' %}"}, {}),
}


@pytest.mark.parametrize("attack", OUTSIDE)
def test_nothing_is_read_or_written_outside(
    foreign_settings: Settings, tmp_path: Path, find_leftovers: Callable[[], list[Path]], attack: str
) -> None:
    files, values = OUTSIDE[attack]
    write_tree(tmp_path / "victim", {"kept": "s3cret"})
    write_tree(tmp_path / "other", {"cookiecutter.json": define(), f"{ROOT}/a": "s3cret"})
    before = read_tree(tmp_path)

    def fill(text: str) -> str:
        return text.replace("PLACE", str(tmp_path / "escaped"))

    directory = write_tree(tmp_path / "template", {path: fill(text) for path, text in files.items()})
    made = {f"template/{path}": content for path, content in read_tree(directory).items()}
    with pytest.raises(TemplateError) as caught:
        render(directory, foreign_settings, **{name: fill(value) for name, value in values.items()})
    assert "s3cret" not in str(caught.value)
    assert read_tree(tmp_path) == before | made
    assert find_leftovers() == []


def test_a_choice_of_a_template_outside_is_refused_with_trust_too(foreign_settings: Settings, tmp_path: Path) -> None:
    write_tree(tmp_path / "other", {"cookiecutter.json": define(), f"{ROOT}/a": ""})
    definition = json.dumps({"templates": {"x": {"path": "../other"}}})
    with pytest.raises(TemplateError, match=r"chooses the template '.*other'; accepted is one inside of"):
        render(write_tree(tmp_path / "template", {"cookiecutter.json": definition}), foreign_settings, trust=True)


def test_an_optional_module_is_never_taken_from_an_untrusted_template(
    foreign_settings: Settings, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    code = f"open({str(marker)!r}, 'w').close()"
    names = ["chardet", "simplejson", "tzlocal", "backports", "sitecustomize", "jinja2", "text_unidecode", "unidecode"]
    files = {
        "cookiecutter.json": define(),
        f"{ROOT}/a": "{{ 'é' | slugify }}{% now 'utc' %}",
        **{f"{name}.py": code for name in names},
    }
    render(write_tree(tmp_path / "template", files), foreign_settings)
    assert not marker.exists()


def test_a_persons_own_settings_of_cookiecutter_have_no_effect(
    foreign_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = "default_context: {name: wrong}\nreplay_dir: REPLAY\n".replace("REPLAY", str(tmp_path / "replay"))
    home = write_tree(tmp_path / "home", {".cookiecutterrc": config, ".cookiecutter_replay/template.json": "{}"})
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("COOKIECUTTER_CONFIG", str(home / ".cookiecutterrc"))
    files = {"cookiecutter.json": define(name="x"), f"{ROOT}/a": "{{ cookiecutter.name }}"}
    assert render(write_tree(tmp_path / "template", files), foreign_settings) == {"a": (b"x", False)}
    assert not (tmp_path / "replay").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nmae": "x"}, r"it has no values \['nmae'\]; accepted are \['docker', 'kind', 'slug'\]"),
        ({"kind": "c"}, "c provided for choice variable kind, but the choices are"),
        ({"docker": "perhaps"}, "perhaps provided for variable docker could not be converted"),
        ({"_extensions": ["os.system"]}, r"it has no values \['_extensions'\]"),
        ({"_jinja2_env_vars": {}}, r"it has no values"),
        ({"__computed": "x"}, r"it has no values"),
        ({"slug": ""}, "cannot be rendered by Cookiecutter|accepted is one directory below"),
    ],
)
def test_values_that_the_template_refuses_are_named(
    foreign_settings: Settings, tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    definition = define(kind=["a", "b"], docker=True, _extensions=[], _jinja2_env_vars={}, __computed="x")
    directory = write_tree(tmp_path / "template", {"cookiecutter.json": definition, f"{ROOT}/a": ""})
    with pytest.raises(TemplateError, match=message):
        render(directory, foreign_settings, **values)


@pytest.mark.parametrize("trust", [True, False])
def test_given_values_are_never_rendered(foreign_settings: Settings, tmp_path: Path, trust: bool) -> None:
    marker = tmp_path / "ran"
    evil = ESCAPE.replace("MARKER", str(marker))
    files = {
        "cookiecutter.json": define(a="x", b="{{ cookiecutter.a }}", c={"k": "v"}),
        f"{ROOT}/t": "{{ cookiecutter.a }}|{{ cookiecutter.b }}|{{ cookiecutter.c.k }}|{{ cookiecutter.c.keys() | list | length }}",
        f"{ROOT}/sub/u": "{{ cookiecutter.a }}",
    }
    directory = write_tree(tmp_path / "template", files)
    made = render(directory, foreign_settings, trust=trust, a=evil, c={"k": evil, evil: "x"})
    assert made == {"t": (f"{evil}|{evil}|{evil}|2".encode(), False), "sub/u": (evil.encode(), False)}
    with pytest.raises(TemplateError, match="accepted is a name without marks of templates"):
        render(directory, foreign_settings, trust=trust, slug="{{ 7*7 }}")
    assert not marker.exists()


LIMITS: list[tuple[dict[str, str], dict[str, int], str]] = [
    (
        {f"{ROOT}/a": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"},
        {"render_cpu_seconds": 2},
        "SCAFFOLDER_RENDER_CPU_SECONDS",
    ),
    ({f"{ROOT}/a": "{{ 'a' * 900000000 }}"}, {}, "SCAFFOLDER_RENDER_MEMORY_SIZE"),
    ({f"{ROOT}/a": "{{ 'a' * 10001 }}"}, {"max_file_size": 10_000}, "SCAFFOLDER_MAX_FILE_SIZE"),
    ({f"{ROOT}/{n}": "" for n in range(30)}, {"max_project_files": 29}, "SCAFFOLDER_MAX_PROJECT_FILES"),
    (
        {f"{ROOT}/{n}": "{{ 'a' * 5000 }}" for n in range(30)},
        {"max_project_size": 100_000},
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
    directory = write_tree(tmp_path / "template", {"cookiecutter.json": define(), **files})
    with pytest.raises(LimitExceededError, match=setting):
        render(directory, replace(foreign_settings, **limits))
    assert find_leftovers() == []


def test_directories_in_directories_are_no_way_to_stay(
    foreign_settings: Settings, tmp_path: Path, find_leftovers: Callable[[], list[Path]]
) -> None:
    files = {"cookiecutter.json": define(deep="a/" * 1000), f"{ROOT}/{{{{cookiecutter.deep}}}}/x": ""}
    with pytest.raises(TemplateError, match="makes directories in each other"):
        render(write_tree(tmp_path / "template", files), foreign_settings)
    assert find_leftovers() == []


def test_what_a_killed_rendering_left_is_removed(foreign_settings: Settings, tmp_path: Path) -> None:
    files = {
        "cookiecutter.json": define(),
        f"{ROOT}/a": "",
        "hooks/post_gen_project.py": "import os\nprint(os.getcwd())\nassert False",
    }
    directory = write_tree(tmp_path / "template", files)
    with pytest.raises(TemplateError):
        render(directory, foreign_settings, trust=True)
    write_tree(directory, {"hooks/post_gen_project.py": "import os\nopen('where', 'w').write(os.getcwd())\n"})
    made = Path(render(directory, foreign_settings, trust=True)["where"][0].decode())
    write_tree(made, {"leftover": "half", "closed/x": ""})
    (made / "closed").chmod(0)
    assert set(render(directory, foreign_settings, trust=True)) == {"a", "where"}
    assert not made.exists()


def test_a_path_of_the_rendering_in_a_file_is_the_same_every_time(foreign_settings: Settings, tmp_path: Path) -> None:
    files = {"cookiecutter.json": define(), f"{ROOT}/all.json": "{{ cookiecutter | jsonify }}"}
    directory = write_tree(tmp_path / "template", files)
    first = render(directory, foreign_settings)
    assert b"_output_dir" in first["all.json"][0]
    assert render(directory, foreign_settings) == first


def test_a_cache_that_cannot_be_written_names_its_setting(foreign_settings: Settings, tmp_path: Path) -> None:
    directory = write_tree(tmp_path / "template", {"cookiecutter.json": define(), f"{ROOT}/a": ""})
    foreign_settings.cache_dir.write_text("in the way")
    with pytest.raises(StorageError, match="Check SCAFFOLDER_CACHE_DIR"):
        render(directory, foreign_settings)


def test_equal_renderings_at_the_same_time_do_not_meet(foreign_settings: Settings, tmp_path: Path) -> None:
    files = {"cookiecutter.json": define(), **{f"{ROOT}/{n}": "{{ cookiecutter.slug }}" for n in range(50)}}
    directory = write_tree(tmp_path / "template", files)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: render(directory, foreign_settings), range(6)))
    assert all(len(one) == 50 and one == made[0] for one in made)


def test_a_file_of_exactly_the_limit_passes(foreign_settings: Settings, tmp_path: Path) -> None:
    files = {"cookiecutter.json": define(), f"{ROOT}/a": "{{ 'a' * 10000 }}"}
    directory = write_tree(tmp_path / "template", files)
    assert len(render(directory, replace(foreign_settings, max_file_size=10_000))["a"][0]) == 10_000


def test_a_hook_that_fills_the_disk_is_stopped_while_it_runs(foreign_settings: Settings, tmp_path: Path) -> None:
    script = "import time\nn = 0\nwhile True:\n    open(f'{n}', 'wb').write(b'x' * 9000)\n    n += 1\n    time.sleep(0.001)\n"
    files = {"cookiecutter.json": define(), f"{ROOT}/a": "", "hooks/post_gen_project.py": script}
    directory = write_tree(tmp_path / "template", files)
    settings = replace(foreign_settings, max_project_size=1_000_000)
    with pytest.raises(LimitExceededError, match="SCAFFOLDER_MAX_PROJECT_SIZE"):
        render(directory, settings, trust=True)


def test_links_and_pipes_that_a_hook_makes_are_refused_by_name(foreign_settings: Settings, tmp_path: Path) -> None:
    script = "import os\nos.symlink('/etc/passwd', 'link')\nos.mkfifo('pipe')\nos.symlink('/', 'root')\n"
    files = {"cookiecutter.json": define(), f"{ROOT}/a": "", "hooks/post_gen_project.py": script}
    with pytest.raises(TemplateError, match=r"has links or devices: \['link', 'pipe', 'root'\]"):
        render(write_tree(tmp_path / "template", files), foreign_settings, trust=True)


def test_a_project_that_a_hook_makes_a_link_is_refused(foreign_settings: Settings, tmp_path: Path) -> None:
    victim = write_tree(tmp_path / "victim", {"kept": "s3cret"})
    script = f"import os, shutil\nhere = os.getcwd()\nos.chdir('..')\nshutil.rmtree(here)\nos.symlink({str(victim)!r}, here)\n"
    files = {"cookiecutter.json": define(), f"{ROOT}/a": "", "hooks/post_gen_project.py": script}
    with pytest.raises(TemplateError, match="accepted is one directory below the one that it gets"):
        render(write_tree(tmp_path / "template", files), foreign_settings, trust=True)


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("{", "JSON decoding error"),
        ("[]", "cannot be rendered by Cookiecutter"),
        ("[" * 100_000, "RecursionError|JSON decoding error"),
        ('{"name": "x"}', "NonTemplatedInputDir"),
    ],
)
def test_a_definition_that_is_none_is_an_error(
    foreign_settings: Settings, tmp_path: Path, definition: str, message: str
) -> None:
    with pytest.raises(TemplateError, match=message):
        render(write_tree(tmp_path / "template", {"cookiecutter.json": definition}), foreign_settings)


def test_inspection_lists_demands_and_values_and_runs_nothing(foreign_settings: Settings, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    for demand, files in hooks(marker).items():
        directory = tmp_path / demand.replace("/", "-")
        write_tree(directory, {"cookiecutter.json": define(_x=1), f"{ROOT}/a": "", **files})
        template = open_template(str(directory), settings=foreign_settings)
        assert isinstance(template, CookiecutterTemplate)
        inspection = template.inspect(settings=foreign_settings)
        assert (inspection.demands, inspection.names) == ((demand,), ("slug",))
    assert not marker.exists()


def test_the_workers_environment_stays_with_the_worker(
    foreign_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SECRET", "t0ken")
    script = "import os\nopen('env', 'w').write(repr(dict(os.environ)))\n"
    files = {"cookiecutter.json": define(), f"{ROOT}/a": "", "hooks/post_gen_project.py": script}
    made = render(write_tree(tmp_path / "template", files), foreign_settings, trust=True)["env"][0].decode()
    assert "t0ken" not in made
    assert "AIRFLOW" not in made
    assert f"'HOME': {str(Path.home())!r}" not in made
