from __future__ import annotations

from pathlib import Path

import pytest

from scaffolder.config import Settings
from scaffolder.errors import WorkflowDefinitionError
from scaffolder.workflows.definition import load_definition, load_definitions

GOOD = """\
id: service
title: A service
params:
  name: {type: string, pattern: "^[a-z]+$"}
steps:
  - id: models
    type: api_call
    agent: demo_agent
    operation: generateModels
    body: {document: "{{ params.name }}"}
  - id: files
    type: file_generation
    template: fastapi_service
    files: "{{ steps.models.output.files }}"
  - id: publish
    type: repo_creation
    target: archive
"""


def load(tmp_path: Path, text: str) -> object:
    path = tmp_path / "service.yaml"
    path.write_text(text)
    return load_definition(path, settings=Settings())


def problems_of(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(WorkflowDefinitionError) as caught:
        load(tmp_path, text)
    return [problem.removeprefix(f"{tmp_path}/") for problem in caught.value.problems]


def test_steps_run_in_order_unless_needs_says_otherwise(tmp_path: Path) -> None:
    text = GOOD.replace("  - id: files\n", "  - id: files\n    needs: [models]\n").replace(
        "  - id: publish\n",
        "  - id: other\n    needs: []\n    type: file_generation\n    delete: [x]\n  - id: publish\n    needs: [files, other]\n",
    )
    definition = load(tmp_path, text)
    assert [definition.needs(index) for index in range(4)] == [[], ["models"], [], ["files", "other"]]  # type: ignore[attr-defined]
    assert definition.ancestors["publish"] == {"models", "files", "other"}  # type: ignore[attr-defined]


def test_every_workflow_has_a_project_parameter(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD).params["project"]["default"] == "default"  # type: ignore[attr-defined]


BROKEN = [
    (("id: service", "id: Service"), "service.yaml:1: id is 'Service'; accepted is [a-z][a-z0-9_]{0,62}"),
    (
        ("title:", "tittle:"),
        "service.yaml:2: unknown key 'tittle'; accepted are ['id', 'title', 'description', 'params', 'steps']",
    ),
    (("title: A service", "title: 1"), "service.yaml:2: title is 1; accepted is a string"),
    (("type: string,", "type: strng,"), "service.yaml:4: parameter 'name' is no JSON Schema: "),
    (
        ('"^[a-z]+$"}', '"^[a-z]+$", default: A}'),
        "service.yaml:4: parameter 'name' refuses its own default: 'A' does not match",
    ),
    (
        ("  name: {", "  project: {"),
        "service.yaml:4: parameter 'project'; accepted is [a-z][a-z0-9_]{0,62}, but not 'project'",
    ),
    (("id: files", "id: models"), "service.yaml:11: step 'models': the id is taken"),
    (("id: files", "id: open_generated_project"), "service.yaml:11: step 'open_generated_project': the id is taken"),
    (
        ("type: repo_creation", "type: repo_create"),
        "service.yaml:16: step 'publish': type is 'repo_create'; accepted are ['api_call', 'file_generation', 'repo_creation']",
    ),
    (
        ("agent: demo_agent", "agnt: demo_agent"),
        "service.yaml:8: step 'models': unknown key 'agnt'; accepted are ['agent', 'body', 'budget', 'files', 'id'",
    ),
    (("    agent: demo_agent\n", ""), "service.yaml:6: step 'models': agent: Field required"),
    (
        ("operation: generateModels", "operation: [x]"),
        "service.yaml:9: step 'models': operation: Input should be a valid string",
    ),
    (
        ("template: fastapi_service", "template: fastapi"),
        "service.yaml:11: step 'files': there is no template 'fastapi' in ",
    ),
    (
        ("target: archive", "target: zip"),
        "service.yaml:15: step 'publish': target 'zip'; accepted are ['archive', 'git', 'github', 'gitlab']",
    ),
    (
        ("target: archive", "target: git"),
        "service.yaml:15: step 'publish': target 'git' needs a connection: add the key 'connection'",
    ),
    (
        ("target: archive", "target: archive\n    options: {format: rar}"),
        "service.yaml:15: step 'publish': target 'archive': option 'format' is 'rar': Input should be",
    ),
    (
        ("{{ params.name }}", "{{ params.nme }}"),
        "service.yaml:6: step 'models': '{{ params.nme }}' uses params.nme; accepted are ['name', 'project']",
    ),
    (
        ("{{ params.name }}", "{{ parms.name }}"),
        "service.yaml:6: step 'models': expression '{{ parms.name }}' uses ['parms']",
    ),
    (
        ("{{ params.name }}", "{{ params.name"),
        "service.yaml:6: step 'models': expression '{{ params.name': unexpected end",
    ),
    (
        ("{{ steps.models.", "{{ steps.publish."),
        "service.yaml:11: step 'files': '{{ steps.publish.output.files }}' uses steps.publish; accepted are ['models']",
    ),
    (
        ("type: file_generation", "type: file_generation\n    needs: [publish]"),
        "service.yaml:13: step 'files': needs 'publish'; accepted are the earlier steps ['models']",
    ),
    (
        ("type: file_generation", "type: file_generation\n    type: api_call"),
        "service.yaml:13: key 'type' is there twice",
    ),
    (
        ("type: file_generation", "type: file_generation\n    retries: -1"),
        "service.yaml:13: step 'files': retries: Input should be greater",
    ),
    (("steps:\n", "stages:\n"), "service.yaml:5: unknown key 'stages'"),
    (
        ("  - id: models", "  - models\n  - id: models"),
        "service.yaml:6: step is 'models'; accepted is a mapping with id and type",
    ),
    (
        ("type: repo_creation", "type: [repo_creation]"),
        "service.yaml:16: step 'publish': type is ['repo_creation']; accepted",
    ),
    (("title: A service", "? [a, b]\n: 1"), "service.yaml:2: a key is a list or mapping; accepted is text"),
    (("title: A service", "title: &a [*a]"), "service.yaml:2: an alias leads back to where it stands"),
    (
        (
            "title: A service",
            "title: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d]",
        ),
        "service.yaml:2: has more than 20000 values, aliases counted",
    ),
    (
        ("type: string,", "$ref: 'http://127.0.0.1:9/x', default: x,"),
        "service.yaml:4: parameter 'name' is no JSON Schema: the reference",
    ),
    (("id: service\n", "id: [\n"), "service.yaml:3: is no YAML: "),
]


@pytest.mark.parametrize(("change", "problem"), BROKEN, ids=[problem[:60] for _, problem in BROKEN])
def test_a_problem_names_file_line_step_and_what_is_accepted(
    tmp_path: Path, change: tuple[str, str], problem: str
) -> None:
    assert change[0] in GOOD
    found = problems_of(tmp_path, GOOD.replace(*change, 1))
    assert [one for one in found if one.startswith(problem)], found


@pytest.mark.parametrize(
    ("text", "problem"), [("", "holds NoneType"), ("- a", "holds list"), ("id: x", "steps are missing")]
)
def test_a_file_that_is_no_workflow_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    assert problem in problems_of(tmp_path, text)[0]


def test_all_problems_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("title:", "tittle:").replace("target: archive", "target: zip").replace("agent:", "agnt:")
    assert len(problems_of(tmp_path, text)) == 4


def test_a_broken_file_does_not_take_the_others_down(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text("id: [")
    (tmp_path / "c.yaml").write_text(GOOD.replace("id: service", "id: other"))
    (tmp_path / "d.yaml").write_text(GOOD)
    definitions, problems = load_definitions(Settings(workflows_dir=tmp_path))
    assert [definition.id for definition in definitions] == ["service", "other", "openapi_service"]
    assert len(problems) == 2
    assert "b.yaml:2: is no YAML" in problems[0]
    assert "d.yaml: id 'service' is taken" in problems[1]


def test_own_workflows_are_there_beside_those_that_ship(tmp_path: Path) -> None:
    (tmp_path / "service.yaml").write_text(GOOD)
    definitions, problems = load_definitions(Settings(workflows_dir=tmp_path))
    assert [definition.id for definition in definitions] == ["service", "openapi_service"]
    assert problems == []


def test_an_own_workflow_takes_the_place_of_one_that_ships(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD.replace("id: service", "id: openapi_service"))
    definitions, problems = load_definitions(Settings(workflows_dir=tmp_path))
    assert [(definition.id, definition.title) for definition in definitions] == [("openapi_service", "A service")]
    assert problems == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mine.yaml", "id: openapi_service\nsteps: []\n"),
        ("mine.yaml", "title: Ours\nid: openapi_service\nsteps: [\n"),
        ("mine.yaml", "id: 'openapi_service'\n\tsteps: []\n"),
        ("openapi_service.yaml", "steps: [\n"),
        ("openapi_service.yaml", ""),
    ],
)
def test_what_ships_does_not_step_in_for_an_own_workflow_that_is_broken(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    definitions, problems = load_definitions(Settings(workflows_dir=tmp_path))
    assert definitions == []
    assert {problem.partition(":")[0] for problem in problems} == {str(tmp_path / name)}


def test_no_directory_at_all_is_a_problem() -> None:
    definitions, problems = load_definitions(Settings(include_shipped=False))
    assert definitions == []
    assert problems[0].startswith("there is no directory of workflows: set SCAFFOLDER_WORKFLOWS_DIR")


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    definitions, problems = load_definitions(Settings(workflows_dir=tmp_path / "nope"))
    assert [definition.id for definition in definitions] == ["openapi_service"]
    assert problems == [f"{tmp_path / 'nope'}: is no directory (SCAFFOLDER_WORKFLOWS_DIR)"]


def test_the_workflows_that_ship_are_sound() -> None:
    definitions, problems = load_definitions(Settings())
    assert problems == []
    assert "openapi_service" in {definition.id for definition in definitions}
