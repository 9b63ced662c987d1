from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scaffolder.config import Settings
from scaffolder.errors import FileConflictError, InvalidParametersError, LimitExceededError, UnsafePathError
from scaffolder.generation.merge import Move, OnConflict, TreeChanges, TreeEdits, merge
from scaffolder.generation.tree import GeneratedFile
from scaffolder.records.models import FileChange, ProjectFile
from tests.factories import make_file

MIB = 1024 * 1024
SMALL = replace(Settings(), max_file_size=10, max_project_files=3, max_project_size=25)


def there(
    path: str, content: str = "there", *, origin: str = "template:base@1", executable: bool = False
) -> ProjectFile:
    file = make_file(path, content, executable=executable)
    return ProjectFile(
        path=path, sha256=file.sha256, size_bytes=len(content), mode=file.mode, origin=origin, step_id="base"
    )


def by_agent(path: str, content: str = "x") -> GeneratedFile:
    return GeneratedFile(path=path, content=content.encode(), origin="agent_call:7")


def run(tree: list[ProjectFile], *, settings: Settings | None = None, **edits: Any) -> TreeChanges:
    return merge(TreeEdits(**edits), tree=tree, settings=settings or Settings())


def describe(changes: TreeChanges) -> dict[str, Any]:
    return {
        "written": {file.path: file.content.decode() for file in changes.written},
        "moved": {file.source.path: file.path for file in changes.moved},
        "deleted": changes.deleted,
    }


def test_writes_beside_what_is_there() -> None:
    changes = run([there("a")], files=[make_file("b"), make_file("A2")])
    assert describe(changes) == {"written": {"A2": "content\n", "b": "content\n"}, "moved": {}, "deleted": []}


POLICIES: dict[OnConflict, dict[str, Any]] = {
    OnConflict.OURS: {"written": {"new": "n"}, "moved": {}, "deleted": ["m"]},
    OnConflict.THEIRS: {"written": {"a": "theirs", "new": "n"}, "moved": {"m": "b"}, "deleted": ["m"]},
    OnConflict.SKIP: {"written": {"new": "n"}, "moved": {}, "deleted": []},
}
TREE = [there("a"), there("b", "b"), there("m", "m")]
EDITS: dict[str, Any] = {
    "files": [make_file("a", "theirs"), make_file("new", "n")],
    "move": [Move(source="m", target="b"), Move(source="gone", target="x")],
    "delete": ["nothing/"],
}
CONFLICTS = [
    ("gone", "nothing there", "move to 'x'"),
    ("nothing/", "nothing there", "delete"),
    ("b", "template:base@1", "move of 'm'"),
    ("a", "template:base@1", "step:files"),
]


@pytest.mark.parametrize("policy", list(POLICIES))
def test_conflicts_are_settled_as_the_step_says(policy: OnConflict) -> None:
    changes = run(TREE, on_conflict=policy, **EDITS)
    assert describe(changes) == POLICIES[policy]
    assert changes.conflicts == CONFLICTS


def test_conflicts_are_listed_whole() -> None:
    with pytest.raises(FileConflictError) as caught:
        run(TREE, **EDITS)
    assert list(caught.value.conflicts) == CONFLICTS
    assert "4 conflict(s), so none of the files was written" in str(caught.value)
    assert "'a': template:base@1 and step:files" in str(caught.value)


def test_the_same_content_is_no_conflict_and_keeps_its_origin() -> None:
    same = run([there("a", "x"), there("run", "x", executable=True)], files=[make_file("a", "x"), make_file("b", "y")])
    assert describe(same)["written"] == {"b": "y"}
    with pytest.raises(FileConflictError, match="'run'"):
        run([there("run", "x", executable=True)], files=[make_file("run", "x")])


@pytest.mark.parametrize(("policy", "winner"), [("theirs", "2"), ("ours", "1"), ("skip", "1")])
def test_two_sources_of_one_step_conflict_too(policy: str, winner: str) -> None:
    files = [make_file("a", "1"), by_agent("a", "2")]
    with pytest.raises(FileConflictError, match="'a': step:files and agent_call:7"):
        run([], files=files)
    assert describe(run([], files=files, on_conflict=OnConflict(policy)))["written"] == {"a": winner}


DELETIONS = [
    (["docs"], ["docs/a.md", "docs/b/c.md"]),
    (["docs/"], ["docs/a.md", "docs/b/c.md"]),
    (["*.md"], ["README.md", "docs/a.md", "docs/b/c.md"]),
    (["/*.md"], ["README.md"]),
    (["docs/**/c.md", "/README.md"], ["README.md", "docs/b/c.md"]),
]


@pytest.mark.parametrize(("patterns", "gone"), DELETIONS)
def test_deletes_by_patterns(patterns: list[str], gone: list[str]) -> None:
    tree = [there(path) for path in ("README.md", "docs/a.md", "docs/b/c.md", "src/x.py")]
    assert run(tree, delete=patterns).deleted == gone


@pytest.mark.parametrize("pattern", ["!a", "a//[", "\\"])
def test_a_pattern_that_is_none_is_named(pattern: str) -> None:
    with pytest.raises((InvalidParametersError, FileConflictError)) as caught:
        run([there("b")], delete=[pattern])
    assert repr(pattern) in str(caught.value)


def test_moves_files_and_directories_with_their_origins() -> None:
    tree = [there("a/1"), there("a/b/2"), there("ab")]
    changes = run(tree, move=[Move(source="a", target="x/y"), Move(source="ab", target="a")])
    assert describe(changes)["moved"] == {"a/1": "x/y/1", "a/b/2": "x/y/b/2", "ab": "a"}
    assert changes.deleted == ["a/1", "a/b/2", "ab"]
    assert {moved.source.origin for moved in changes.moved} == {"template:base@1"}


def test_a_directory_can_be_emptied_but_for_what_moves_out_and_a_target_be_made_free() -> None:
    tree = [there("old/keep"), there("old/rest"), there("new", "old content")]
    changes = run(tree, move=[Move(source="old/keep", target="new")], delete=["old", "/new"])
    assert describe(changes) == {"written": {}, "moved": {"old/keep": "new"}, "deleted": ["old/keep", "old/rest"]}


def test_a_move_onto_itself_does_nothing() -> None:
    assert describe(run([there("a")], move=[Move(source="a", target="a")])) == describe(TreeChanges())


def test_a_file_may_take_the_place_of_a_deleted_directory() -> None:
    changes = run([there("a/b")], delete=["a"], files=[make_file("a")])
    assert describe(changes) == {"written": {"a": "content\n"}, "moved": {}, "deleted": ["a/b"]}


def test_a_step_works_below_its_directory() -> None:
    tree = [there("a"), there("svc/a"), there("svc/sub/b"), there("svc/c")]
    changes = run(
        tree,
        into="svc/",
        files=[make_file("n")],
        delete=["a", "sub/b"],
        move=[Move(source="c", target="d")],
    )
    assert describe(changes) == {
        "written": {"svc/n": "content\n"},
        "moved": {"svc/c": "svc/d"},
        "deleted": ["svc/a", "svc/c", "svc/sub/b"],
    }


@pytest.mark.parametrize("pattern", ["b", "*b", "/b", "x/b", "**/b"])
def test_a_pattern_never_leaves_the_step_s_directory(pattern: str) -> None:
    tree = [there("b"), there("x/b"), there("in[1]/b"), there("in[1]/x/b"), there("in1/b")]
    assert all(path.startswith("in[1]/") for path in run(tree, into="in[1]", delete=[pattern]).deleted)


UNSAFE: list[tuple[dict[str, Any], str]] = [
    ({"files": [make_file("../a")]}, "'../a'"),
    ({"files": [make_file("/etc/a")]}, "'/etc/a': is absolute"),
    ({"files": [make_file("/etc/a")], "into": "x"}, "'x//etc/a': has an empty part"),
    ({"files": [make_file("../a")], "into": "x"}, "'x/../a': has a part '..'"),
    ({"files": [make_file("a")], "into": ".."}, "'..': .into. has a part '..'"),
    ({"files": [make_file("a")], "into": ".git"}, "'.git': .into. has a part that git keeps"),
    ({"move": [Move(source="there", target="../a")]}, "'../a': has a part '..'"),
    ({"move": [Move(source="../there", target="a")]}, "'../there': has a part '..'"),
    ({"move": [Move(source="there", target=".git/hooks")]}, "'.git/hooks': has a part that git keeps"),
    ({"move": [Move(source="there", target="THERE2")], "files": [make_file("there2")]}, "only in spelling"),
    ({"files": [make_file("There")]}, "differs from 'there' only in spelling|differs from 'There' only in spelling"),
    ({"files": [make_file("there/a")]}, "both a file and a directory"),
]


@pytest.mark.parametrize(("edits", "message"), UNSAFE)
@pytest.mark.parametrize("policy", list(OnConflict))
def test_unsafe_paths_are_refused_under_every_policy(edits: dict[str, Any], message: str, policy: OnConflict) -> None:
    with pytest.raises(UnsafePathError, match=message):
        run([there("there")], on_conflict=policy, **edits)


CI = [
    ".github/workflows/ci.yml",
    ".github/actions/a/action.yml",
    ".gitea/workflows/x.yml",
    ".gitlab-ci.yml",
    "sub/.gitlab-ci.yml",
    ".gitlab/ci/build.yml",
    ".circleci/config.yml",
    "azure-pipelines.yml",
    ".azure-pipelines/x.yml",
    "Jenkinsfile",
    "ci/Jenkinsfile.release",
    ".travis.yml",
    "bitbucket-pipelines.yml",
    ".drone.yml",
    ".woodpecker/a.yaml",
    ".buildkite/pipeline.yml",
    "cloudbuild.yaml",
    "buildspec.yml",
    "action.yml",
]
NO_CI = ["github/workflows/ci.yml", ".github/CODEOWNERS", ".github/dependabot.yml", "docs/jenkins.md", "src/action.yml"]


def test_files_of_an_agent_that_ci_systems_run_need_the_step_s_word() -> None:
    batch = [by_agent(path) for path in [*CI, *NO_CI]]
    with pytest.raises(
        UnsafePathError, match="Accepted are such files where the step says allow_ci_files: true"
    ) as caught:
        run([], files=batch)
    assert sorted(path for path, _ in caught.value.offenders) == sorted(CI)
    assert len(run([], files=batch, allow_ci_files=True).written) == len(batch)
    assert len(run([], files=[make_file(path) for path in CI]).written) == len(CI)


def test_a_ci_file_is_one_however_it_is_spelled() -> None:
    with pytest.raises(UnsafePathError, match="allow_ci_files"):
        run([], files=[by_agent(".GitHub/Workflows/x.yaml")])


def test_a_move_does_not_launder_a_file_of_an_agent() -> None:
    tree = [there("harmless.yml", origin="agent_call:7")]
    with pytest.raises(UnsafePathError, match="comes from an agent"):
        run(tree, move=[Move(source="harmless.yml", target=".github/workflows/ci.yml")])


@pytest.mark.parametrize(
    ("files", "tree", "message"),
    [
        ([make_file("a", "x" * 11), make_file("b", "x" * 12)], [], "'a' has 11 bytes; 'b' has 12 bytes"),
        ([make_file("a"), make_file("b")], [there("c"), there("d")], "would have 4 files, accepted are 3"),
        ([make_file("a", "x" * 10)], [there("b", "x" * 16)], "would have 26 bytes, accepted are 25"),
    ],
)
def test_limits_are_named(files: list[GeneratedFile], tree: list[ProjectFile], message: str) -> None:
    with pytest.raises(LimitExceededError, match=message):
        run(tree, files=files, settings=SMALL)


def test_exactly_the_limits_pass() -> None:
    changes = run([there("b", "x" * 5)], files=[make_file("a", "x" * 10), make_file("c", "y" * 10)], settings=SMALL)
    assert len(changes.written) == 2
    full = merge(TreeEdits(files=[make_file("a", b"x" * (10 * MIB))]), tree=[], settings=Settings())
    assert len(full.written) == 1
    with pytest.raises(LimitExceededError):
        merge(TreeEdits(files=[make_file("a", b"x" * (10 * MIB + 1))]), tree=[], settings=Settings())


def test_a_step_that_runs_again_may_not_take_what_a_later_step_wrote() -> None:
    later = [FileChange(path="l", file=there("l", origin="template:late@1")), FileChange(path="gone", file=None)]
    with pytest.raises(FileConflictError, match="'l': template:late@1 of the later step 'base' and step:files"):
        merge(TreeEdits(files=[make_file("l")]), tree=[], later=later, settings=Settings())
    allowed = merge(TreeEdits(files=[make_file("l")]), tree=[], later=later, earlier_try={"l"}, settings=Settings())
    assert [file.path for file in allowed.written] == ["l"]
    with pytest.raises(UnsafePathError, match="both a file and a directory"):
        merge(TreeEdits(files=[make_file("l/a")]), tree=[], later=later, settings=Settings())
