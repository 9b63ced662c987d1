"""The pages of generated projects: what they show, to whom, and that nothing in them runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest
from markupsafe import escape

from scaffolder.config import Settings
from scaffolder.records.models import MemberRole
from scaffolder.records.store import ProjectRecords
from scaffolder.ui.words import format_amount, format_size, tell_age
from tests.airflow.test_agent_pages import Client, records_connection  # noqa: F401  # a fixture for all tests here
from tests.airflow.test_agent_pages import client as client  # noqa: PLC0414  # a fixture
from tests.api.scenes import Scene

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
ROOT = "/airflow/scaffolder"


@pytest.fixture
def scene(records: ProjectRecords, settings: Settings) -> Scene:
    made = Scene(records=records, settings=settings)
    made.make_project("secret")
    return made


def see(client: Client, path: str, *, status: int = 200, **who: Any) -> str:
    answer = client.get(ROOT + path, **who)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "<h1" in answer.text
    text: str = answer.text
    return text


def test_the_list_shows_what_somebody_sees(client: Client, scene: Scene) -> None:
    key = scene.generate()  # vera, who the client is, is a viewer there
    scene.export(key)
    scene.records.projects.create("hidden", name="Hidden", owner="olga")
    hidden = scene.generate(project="hidden")
    page = see(client, "/projects")
    assert f'href="{ROOT}/projects/secret/generated/{key}"' in page
    assert str(hidden) not in page
    run = scene.records.get_generated_project(key).run_id
    for shown in (
        "badge-ready",
        "badge-exported",
        '#files">2</a>',
        "exported</span> 1</a>",
        f"/airflow/dags/plain/runs/{quote(run)}",
        "in 30 d",
    ):
        assert shown in page
    assert str(hidden) in see(client, "/projects", role="admin")


def test_the_list_is_filtered_and_goes_on(client: Client, scene: Scene) -> None:
    keys = [scene.generate(status="failed" if index % 2 else "ready") for index in range(6)]
    page = see(client, "/projects?status=failed&project=secret&name=pl")
    assert [str(key) in page for key in keys] == [False, True] * 3
    assert '<option value="failed" selected>' in page
    assert "There is nothing like that" in see(client, "/projects?name=other")
    scene.records.listing._connection.execute(  # more than a page of them
        "INSERT INTO generated_project (id, project_id, name, workflow, dag_id, run_id, run_at, params)"
        " SELECT gen_random_uuid(), (SELECT id FROM project WHERE slug = 'secret'), 'bulk-' || n, 'w', 'd', n, now(), '{}'"
        " FROM generate_series(1, 60) n"
    )
    first = see(client, "/projects?name=bulk")
    link = first.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
    second = see(client, link.removeprefix(ROOT))
    names = [f">bulk-{number}</a>" for number in range(1, 61)]
    assert (sum(name in first for name in names), sum(name in second for name in names)) == (50, 10)
    assert 'rel="next"' not in second


def test_an_empty_list_says_what_to_do(client: Client) -> None:
    assert "Nothing has been generated yet" in see(client, "/projects")


def test_one_project_is_shown_whole(client: Client, scene: Scene) -> None:
    key = scene.generate(files={"README.md": "# x\n", "src/a b#?.py": "1\n"})
    export = scene.export(key)
    page = see(client, f"/projects/secret/generated/{key}")
    api = f"{ROOT}/api/v1/projects/secret/generated/{key}"
    assert f'href="{api}/content/src/a%20b%23%3F.py"' in page
    assert f'href="{api}/exports/{export}/archive"' in page
    assert "generating → ready" in page
    assert page.count("<h2 ") == 5


def test_many_files_are_on_pages_of_their_own(client: Client, scene: Scene) -> None:
    key = scene.generate(files={f"f{number:03}.txt": "x" for number in range(230)})
    first = see(client, f"/projects/secret/generated/{key}")
    assert ("f000.txt" in first, "f199.txt" in first, "f200.txt" in first) == (True, True, False)
    link = first.partition('rel="next" href="')[2].partition('"')[0]
    second = see(client, link.removeprefix(ROOT))
    assert ("f199.txt" in second, "f200.txt" in second, "f229.txt" in second) == (False, True, True)
    assert 'rel="next"' not in second


def test_what_is_held_is_marked_while_it_is(client: Client, scene: Scene) -> None:
    key = scene.generate()
    until = datetime.now(UTC) + timedelta(days=100, hours=1)
    scene.records.hold(key, reason="an audit", username="olga", until=until)
    for path in ("/projects", f"/projects/secret/generated/{key}"):
        page = see(client, path)
        assert "held</span>" in page
        assert "by olga, ends" in page
        assert "in 100 d" in page
        assert "an audit" in page
    scene.records.listing._connection.execute(
        "UPDATE generated_project SET held_until = now() - interval '1 d' WHERE id = %s", (key,)
    )
    for path in ("/projects", f"/projects/secret/generated/{key}"):
        page = see(client, path)
        assert "held</span>" not in page
        assert "in 30 d" in page


@pytest.mark.parametrize(
    ("url", "is_link"),
    [
        ("https://example.com/a?b=1&c=2", True),
        ("http://example.com", True),
        ("javascript:alert(1)", False),
        (" JavaScript:alert(1)", False),
        ("data:text/html,<script>alert(1)</script>", False),
        ("https:alert(1)", False),
        ("//example.com", False),
        ("http://[", False),
    ],
)
def test_only_web_addresses_become_links(client: Client, scene: Scene, url: str, *, is_link: bool) -> None:
    key = scene.generate()
    scene.records.listing._connection.execute(
        "UPDATE repository_export SET archive_path = NULL, archive_sha256 = NULL, url = %s WHERE id = %s",
        (url, scene.export(key)),
    )
    page = see(client, f"/projects/secret/generated/{key}")
    assert ('data-outside="tab" rel="noopener noreferrer"' in page) is is_link
    assert (f'href="{escape(url)}"' in page) is is_link


def test_the_run_of_a_page_survives_its_plus(client: Client, scene: Scene) -> None:
    key = scene.generate()
    run_id = "manual__2026-01-01T00:00:00+00:00"
    scene.records.listing._connection.execute("UPDATE generated_project SET run_id = %s WHERE id = %s", (run_id, key))
    encoded = "manual__2026-01-01T00%3A00%3A00%2B00%3A00"
    page = see(client, f"/runs?dag_id=plain&run_id={encoded}")
    assert str(key) in page
    assert f'href="/airflow/dags/plain/runs/{encoded}"' in page


@pytest.mark.parametrize(
    "query", ["", "?dag_id=plain", "?dag_id=&run_id=", "?dag_id=%00&run_id=%00%ff", f"?dag_id=a&run_id={'x' * 251}"]
)
def test_a_run_that_makes_no_sense_is_a_page_too(client: Client, query: str) -> None:
    answer = client.get(f"{ROOT}/runs{query}")
    assert answer.status_code in {200, 422}
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


def test_a_run_leads_to_its_generated_project(client: Client, scene: Scene) -> None:
    key = scene.generate()
    found = scene.records.get_generated_project(key)
    query = f"dag_id={found.dag_id}&run_id={quote(found.run_id)}"
    assert str(key) in see(client, f"/runs?{query}")
    assert "has generated nothing that you can see" in see(client, "/runs?dag_id=plain&run_id=other")
    scene.records.projects.create("hidden", name="Hidden", owner="olga")
    hidden = scene.records.get_generated_project(scene.generate(project="hidden"))
    shown = see(client, f"/runs?dag_id=plain&run_id={quote(hidden.run_id)}")
    assert "has generated nothing that you can see" in shown


def test_what_is_hidden_or_wrong_is_a_page_too(client: Client, scene: Scene) -> None:
    scene.records.projects.create("hidden", name="Hidden", owner="olga")
    hidden = scene.generate(project="hidden")
    assert "there is no project" in see(client, f"/projects/hidden/generated/{hidden}", status=404)
    assert "there is no generated project" in see(client, f"/projects/secret/generated/{hidden}", status=404)
    assert "Record not found" in see(client, f"/projects/secret/generated/{uuid4()}", status=404)
    wrong = see(client, "/projects?status=nonsense", status=422)
    assert "status: Input should be &#39;pending&#39;, &#39;generating&#39;," in wrong
    assert "there is no project &#39;hidden&#39;" in see(client, "/projects?project=hidden", status=404)
    assert "there is no project &#39;&lt;b&gt; &#39;" in see(client, "/projects?project=%3Cb%3E+", status=404)
    see(client, "/projects?cursor=nonsense", status=422)


def test_nothing_that_agents_and_users_say_becomes_html(client: Client, scene: Scene) -> None:
    key = scene.generate(files={f"{HOSTILE.replace('/', '_')}.txt": "x"}, status="generating")
    connection = scene.records.listing._connection
    connection.execute(
        "UPDATE generated_project SET error = %s, created_by = %s, workflow = %s, run_id = %s, held = true,"
        " hold_reason = %s, held_by = %s WHERE id = %s",
        (*[HOSTILE] * 6, key),
    )
    connection.execute("UPDATE file_change SET origin = %s", (HOSTILE,))
    export = scene.export(key, status="failed")
    connection.execute(
        "UPDATE repository_export SET error = %s, remote_name = %s, target = %s WHERE id = %s", (*[HOSTILE] * 3, export)
    )
    other = scene.export(key)
    connection.execute(
        "UPDATE repository_export SET archive_path = NULL, url = %s WHERE id = %s", ("javascript:alert(1)", other)
    )
    connection.execute(
        "INSERT INTO agent_call (id, idempotency_key, generated_project_id, step_id, connection, operation, request_digest)"
        " VALUES (%s, 'k', %s, %s, %s, %s, 'd')",
        (UUID(int=1), key, *[HOSTILE] * 3),
    )
    for path in (
        "/projects",
        f"/projects/secret/generated/{key}",
        f"/runs?dag_id=plain&run_id={quote(HOSTILE, safe='')}",
    ):
        page = see(client, path)
        assert "alert(1)" in page
        for wrong in ("<script>alert", "<img", 'href="javascript:', "onerror=alert(2)>"):
            assert wrong not in page.replace("onerror=alert(2)&gt;", "")


def test_roles_without_our_permission_see_a_page_that_says_so(client: Client, scene: Scene) -> None:
    key = scene.generate()
    run_id = quote(scene.records.get_generated_project(key).run_id)
    for path in ("/projects", f"/projects/secret/generated/{key}", f"/runs?dag_id=plain&run_id={run_id}"):
        assert "may not GET here" in see(client, path, status=403, role="")
        assert "Not authenticated" in see(client, path, status=401, role=None)


def test_members_see_the_project_once_they_are(client: Client, scene: Scene) -> None:
    scene.records.projects.remove_member("secret", username="vera")
    key = scene.generate()
    path = f"/projects/secret/generated/{key}"
    see(client, path, status=404)
    scene.records.projects.set_member("secret", username="vera", role=MemberRole.VIEWER)
    see(client, path)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (15_000, "15 KiB"),
        (5 * 1024**3, "5.0 GiB"),
        (2**50, "1024 TiB"),
    ],
)
def test_sizes_as_people_read_them(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("amount", "text"), [("0.012300000", "0.0123"), ("20.000000", "20"), ("0", "0"), ("0.000000120", "0.00000012")]
)
def test_amounts_as_people_read_them(amount: str, text: str) -> None:
    assert format_amount(Decimal(amount)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3, "3 s ago"), (150, "2 min ago"), (7200, "2 h ago"), (-86_400 * 12, "in 12 d"), (86_400 * 800, "2 years ago")],
)
def test_ages_as_people_read_them(seconds: int, text: str) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert tell_age(now - timedelta(seconds=seconds), now) == text


def test_pages_are_all_in_one_folder(settings: Settings) -> None:
    from scaffolder.ui import answering

    assert {path.suffix for path in Path(answering._PAGES).iterdir()} == {".jinja"}
