"""Files and downloads: any path, any bytes, and nothing that a browser would run."""

from __future__ import annotations

import hashlib
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from scaffolder.generation.step_commit import get_project_directory
from tests.api.conftest import Api
from tests.api.scenes import Scene

HOSTILE = "<script>alert(document.cookie)</script>"
FILES: dict[str, Any] = {
    "README.md": "# plain\n",
    "index.html": HOSTILE,
    "image.svg": f'<svg xmlns="http://www.w3.org/2000/svg">{HOSTILE}</svg>',
    "empty": b"",
    "src/a b#c?d%2Fe&f.txt": "odd",
    "src/ünï/データ.bin": bytes(range(256)),
    "src/archive/content/files": "not a route",
    "src/" + "x" * 200 + "/deep.py": "pass\n",
    "latin.txt": "grüße".encode("latin-1"),
    "cut.txt": ("x" * 65_535 + "ü" * 10).encode(),
}


@pytest.fixture(scope="module")
def scene(simple_api: Api) -> Scene:
    made = Scene(records=simple_api.records, settings=simple_api.settings)
    made.project = made.make_project()
    return made


@pytest.fixture(scope="module")
def url(scene: Scene) -> str:
    return f"/projects/{scene.project}/generated/{scene.generate(files=FILES)}"


@pytest.mark.parametrize("path", sorted(FILES))
def test_every_file_comes_back_as_it_is(simple_api: Api, url: str, path: str) -> None:
    data = FILES[path].encode() if isinstance(FILES[path], str) else FILES[path]
    answer = simple_api.ask("GET", f"{url}/content/{quote(path)}")
    assert (answer.status_code, answer.content) == (200, data)
    record = simple_api.ask("GET", f"{url}/files/{quote(path)}").json()
    digest = hashlib.sha256(data).hexdigest()
    assert (record["path"], record["size_bytes"], record["sha256"]) == (path, len(data), digest)
    assert answer.headers["etag"] == f'"{digest}"'


def test_nothing_that_is_sent_can_run_in_the_browser(simple_api: Api, url: str) -> None:
    for path in ("index.html", "image.svg", "src/ünï/データ.bin", "latin.txt", "cut.txt"):
        headers = simple_api.ask("GET", f"{url}/content/{quote(path)}").headers
        kind = headers["content-type"]
        text = path in {"index.html", "image.svg", "cut.txt"}
        assert kind == ("text/plain; charset=utf-8" if text else "application/octet-stream")
        assert headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in headers["content-security-policy"]


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("bytes=0-4", 206, 0, 5),
        ("bytes=65530-", 206, 65_530, None),
        ("bytes=-7", 206, -7, None),
        ("bytes=0-999999", 206, 0, None),
        ("bytes=999999-", 416, 0, 0),
        ("lines=1-2", 200, 0, None),  # of a kind that is not there: as if nothing had been asked
        ("bytes=5-2", 200, 0, None),
    ],
)
def test_a_part_of_a_file(simple_api: Api, url: str, asked: str, status: int, start: int, end: int | None) -> None:
    answer = simple_api.ask("GET", f"{url}/content/cut.txt", headers={"Range": asked})
    assert answer.status_code == status
    if status == 416:
        assert answer.headers["content-type"] == "application/problem+json"
        return
    assert answer.headers["content-encoding"] == "identity"
    assert answer.content == FILES["cut.txt"][start:end]
    if status == 206:
        assert answer.headers["content-range"].endswith(f"/{len(FILES['cut.txt'])}")


def test_what_somebody_has_is_not_sent_again(simple_api: Api, url: str) -> None:
    first = simple_api.ask("GET", f"{url}/content/README.md")
    for known in (first.headers["etag"], f'"x", W/{first.headers["etag"]}', "*"):
        again = simple_api.ask("GET", f"{url}/content/README.md", headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
    changed = simple_api.ask("GET", f"{url}/content/README.md", headers={"If-None-Match": '"x"'})
    assert changed.status_code == 200
    part = {"Range": "bytes=0-1", "If-Range": '"x"'}
    assert simple_api.ask("GET", f"{url}/content/README.md", headers=part).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["nowhere", "../README.md", "src", ".git/config", "..%2f..%2fetc%2fpasswd", "/etc/passwd", "README.md/x", "%00"],
)
def test_paths_that_are_no_file_of_the_project(simple_api: Api, url: str, path: str) -> None:
    answer = simple_api.ask("GET", f"{url}/content/{path}")
    assert answer.status_code in {404, 422}
    assert answer.headers["content-type"] == "application/problem+json"


def test_lists_of_files(simple_api: Api, url: str) -> None:
    def names(query: str) -> list[str]:
        return [one["path"] for one in simple_api.ask("GET", f"{url}/files{query}").json()["items"]]

    ordered = sorted(FILES, key=str.encode)
    assert names("") == ordered
    assert names("?sort=-path") == ordered[::-1]
    assert names("?prefix=src/&suffix=.py") == [
        one for one in ordered if one.startswith("src/") and one.endswith(".py")
    ]
    assert names("?step_id=other") == []
    assert names("?origin=step:") == ordered
    found: list[str] = []
    link = f"{url}/files?limit=3"
    while link:
        answer = simple_api.ask("GET", link)
        found += [one["path"] for one in answer.json()["items"]]
        following = answer.headers.get("link")
        link = following.partition(">")[0].removeprefix("</scaffolder/api/v1") if following else ""
    assert found == ordered


def test_directories(simple_api: Api, url: str) -> None:
    top = simple_api.ask("GET", f"{url}/tree").json()["items"]
    assert [one["name"] for one in top] == sorted({path.partition("/")[0] for path in FILES}, key=str.encode)
    [source] = [one for one in top if one["kind"] == "directory"]
    assert (source["name"], source["files"]) == ("src", 4)
    below = simple_api.ask("GET", f"{url}/tree?path=src").json()["items"]
    assert [(one["name"][:7], one["kind"]) for one in below] == [
        ("a b#c?d", "file"),
        ("archive", "directory"),
        ("xxxxxxx", "directory"),
        ("ünï", "directory"),
    ]
    assert simple_api.ask("GET", f"{url}/tree?path=README.md").status_code == 404


def test_two_commits_are_compared(simple_api: Api, scene: Scene) -> None:
    from scaffolder.generation.merge import TreeEdits
    from scaffolder.generation.step_commit import commit_step
    from tests.factories import make_file

    key = scene.generate(status="generating")
    commit_step(
        scene.records,
        key,
        step_id="more",
        subject="More",
        edits=TreeEdits(files=[make_file("new.txt", "new\n")], delete=["src/main.py"]),
        trailers=[],
        settings=scene.settings,
    )
    url = f"/projects/{scene.project}/generated/{key}"
    commits = simple_api.ask("GET", f"{url}/commits").json()["items"]
    assert [one["step_id"] for one in commits] == ["files", "more"]
    query = f"base={commits[0]['commit'][:8]}&head=more"
    changes = simple_api.ask("GET", f"{url}/diff?{query}").json()["items"]
    assert [(one["path"], one["change"]) for one in changes] == [("new.txt", "added"), ("src/main.py", "removed")]
    patch = simple_api.ask("GET", f"{url}/patch?{query}")
    assert ("+new" in patch.text, "-print()" in patch.text) == (True, True)
    assert patch.headers["content-type"] == "text/plain; charset=utf-8"
    earlier = simple_api.ask("GET", f"{url}/files?commit=files").json()["items"]
    assert [one["path"] for one in earlier] == ["README.md", "src/main.py"]
    assert simple_api.ask("GET", f"{url}/content/src/main.py?commit=files").text == "print()\n"
    assert simple_api.ask("GET", f"{url}/content/src/main.py").status_code == 404
    unknown = simple_api.ask("GET", f"{url}/diff?base=nowhere&head=more")
    assert (unknown.status_code, "accepted is the id or the step" in unknown.text) == (404, True)


def test_a_file_that_is_not_the_recorded_one_is_not_sent(simple_api: Api, scene: Scene) -> None:
    key = scene.generate()
    simple_api.connection.execute(
        "UPDATE file_change SET sha256 = repeat('0', 64) WHERE generated_project_id = %s AND path = 'README.md'", (key,)
    )
    answer = simple_api.ask("GET", f"/projects/{scene.project}/generated/{key}/content/README.md")
    assert (answer.status_code, "# plain" in answer.text) == (500, False)
    assert answer.json()["type"] == "urn:scaffolder:problem:storage"


def test_archives_are_sent_in_parts_and_whole(simple_api: Api, scene: Scene) -> None:
    key = scene.generate()
    content = bytes(range(256)) * 4096
    export = scene.export(key, content=content)
    url = f"/projects/{scene.project}/generated/{key}/exports/{export}"
    whole = simple_api.ask("GET", f"{url}/archive")
    assert (whole.content == content, whole.headers["content-disposition"].startswith("attachment;")) == (True, True)
    part = simple_api.ask("GET", f"{url}/archive", headers={"Range": "bytes=1000-1999"})
    assert (part.status_code, part.content) == (206, content[1000:2000])
    known = {"If-None-Match": whole.headers["etag"]}
    assert simple_api.ask("GET", f"{url}/archive", headers=known).status_code == 304
    assert simple_api.ask("GET", f"{url}/manifest").content == b"manifest"
    assert simple_api.ask("GET", f"{url}/bundle").content == b"bundle"
    shown = simple_api.ask("GET", url)
    # Nothing of where it lies on that machine.
    assert (shown.json()["archive"], str(scene.settings.generated_projects_dir) in shown.text) == (True, False)
    for path in get_project_directory(key, settings=scene.settings).glob("archives/*"):
        path.unlink()
    assert simple_api.ask("GET", f"{url}/archive").status_code == 404


def test_downloads_leave_nothing_behind(simple_api: Api, url: str) -> None:
    def find() -> set[Path]:
        return set(Path(tempfile.gettempdir()).glob("scaffolder-download-*"))

    before = find()
    for headers in ({}, {"Range": "bytes=0-1"}, {"Range": "bytes=999999999-"}, {"Range": "nonsense"}):
        simple_api.ask("GET", f"{url}/content/cut.txt", headers=headers)
    with simple_api.server.client.stream(
        "GET",
        f"/scaffolder/api/v1{url}/content/cut.txt",
        headers={"Authorization": f"Bearer {simple_api.server.token('olga')}"},
    ) as answer:
        assert answer.status_code == 200  # and goes away without reading
    until = time.monotonic() + 10
    while not find() <= before:  # the server finds out a moment later
        assert time.monotonic() < until
        time.sleep(0.05)
