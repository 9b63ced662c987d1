from __future__ import annotations

import base64
import hashlib
import random
import stat
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from scaffolder.config import Settings
from scaffolder.errors import PermanentError, ScaffolderError, TransientError
from scaffolder.generation import secret_scan
from scaffolder.generation.secret_scan import SecretFinding, find_secrets
from scaffolder.generation.tree import GeneratedFile
from tests.conftest import CACHE
from tests.planted_secrets import PlantedSecret, plant_secrets

PLANTED = plant_secrets()
# A password of one's own choosing looks like any other word.
MISSED = {"short password"}
# One that none of our own rules finds, so that it is kingfisher that is tested
STRIPE = PLANTED["stripe restricted"]


def make_file(path: str, content: bytes | str) -> GeneratedFile:
    data = content.encode() if isinstance(content, str) else content
    return GeneratedFile(path=path, content=data, origin="step:files")


def lines_of(findings: list[SecretFinding]) -> dict[str, list[int]]:
    return {path: [one.line for one in findings if one.path == path] for path in {one.path for one in findings}}


@pytest.fixture(scope="session")
def scan_settings() -> Settings:
    return replace(Settings(), cache_dir=CACHE)


@pytest.fixture
def scan(scan_settings: Settings) -> Callable[..., list[SecretFinding]]:
    def run(**contents: bytes | str) -> list[SecretFinding]:
        files = [make_file(path, content) for path, content in contents.items()]
        return find_secrets(files, settings=scan_settings)

    return run


@pytest.fixture(scope="module")
def places_of_planted(scan_settings: Settings) -> dict[str, list[SecretFinding]]:
    """What one scan finds in a file for each kind, the secret some lines down, with both kinds of line ending."""
    files = []
    for kind, planted in PLANTED.items():
        text = f"# first\n# second\n\n{planted.text}\nlast\n"
        files.append(make_file(f"lf/{kind}.txt", text))
        files.append(make_file(f"crlf/{kind}.py", text.replace("\n", "\r\n")))
    found: dict[str, list[SecretFinding]] = {file.path: [] for file in files}
    for finding in find_secrets(files, settings=scan_settings):
        found[finding.path].append(finding)
    return found


@pytest.mark.parametrize("kind", sorted(PLANTED.keys() - MISSED))
@pytest.mark.parametrize("place", ["lf/{}.txt", "crlf/{}.py"])
def test_finds_it_in_its_line(places_of_planted: dict[str, list[SecretFinding]], kind: str, place: str) -> None:
    planted = PLANTED[kind]
    findings = places_of_planted[place.format(kind)]
    assert 3 + planted.line in {finding.line for finding in findings}
    assert all(finding.kind for finding in findings)


def test_a_finding_does_not_hold_the_secret(places_of_planted: dict[str, list[SecretFinding]]) -> None:
    said = repr(places_of_planted)
    assert [kind for kind, planted in PLANTED.items() if _any_part_in(said, planted)] == []


def _any_part_in(said: str, planted: PlantedSecret) -> bool:
    return any(planted.secret[start : start + 12] in said for start in range(0, len(planted.secret) - 11, 4))


def test_misses_no_more_than_is_known(places_of_planted: dict[str, list[SecretFinding]]) -> None:
    missed = {kind for kind in PLANTED if not places_of_planted[f"lf/{kind}.txt"]}
    assert missed == MISSED


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_other_secrets_of_the_same_kinds_are_found_too(scan: Callable[..., list[SecretFinding]], seed: int) -> None:
    planted = plant_secrets(seed)
    found = {finding.path for finding in scan(**{kind: value.text for kind, value in planted.items()})}
    assert planted.keys() - found <= MISSED


def _lines(*lines: str) -> str:
    return "\n".join(lines) + "\n"


_RANDOM = random.Random(11)
_HASH = hashlib.sha256(b"x").hexdigest()
_BASE64 = base64.b64encode(_RANDOM.randbytes(600)).decode()
HARMLESS = {
    "README.md": _lines(
        "export DATABASE_URL=postgresql://user:password@localhost/db",
        'api_key = "your-api-key-here"',
        "curl -u admin:admin http://localhost:8080/api/v2/dags",
        'curl -H "Authorization: Bearer $TOKEN" https://api.example.com',
        'curl -H "Authorization: Bearer <your-token>" https://api.example.com',
        "git clone https://oauth2:${GITLAB_TOKEN}@gitlab.com/group/repo.git",
        "https://<username>:<personal-access-token>@github.com/owner/repo.git",
    ),
    "app.py": _lines(
        "import os",
        'SECRET_KEY = os.environ["SECRET_KEY"]',
        "password = getpass()",
        "access_token_generator = default_access_token_generator_with_claims",
        'DEFAULT = "AKIA" "IOSFODNN7EXAMPLE"'.replace('" "', ""),
        'AWS_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"',
        f'sha256 = "{_HASH}"',
        'stripe.api_key = os.environ["STRIPE_API_KEY"]',
        'client = OpenAI(api_key=os.environ["OPENAI_API_KEY"])',
    ),
    "uv.lock": "".join(
        f'[[package]]\nname = "azure-{number}"\nhash = "sha256:{_RANDOM.randbytes(32).hex()}"\n' for number in range(50)
    ),
    "package-lock.json": "".join(
        f'"node_modules/@sentry/{number}": {{"integrity": "sha512-{base64.b64encode(_RANDOM.randbytes(64)).decode()}"}}\n'
        for number in range(50)
    ),
    "docker-compose.yaml": _lines(
        "environment:",
        "  POSTGRES_PASSWORD: postgres",
        "  DATABASE_URL: postgres://postgres:postgres@db:5432/app",
        "  REDIS_URL: redis://:${REDIS_PASSWORD}@redis:6379/0",
        "  AMQP: amqp://guest:guest@rabbitmq:5672//",
        "  MONGO: mongodb://root:example@mongo:27017/",
        "  AIRFLOW__DATABASE__SQL_ALCHEMY_CONN: postgresql+psycopg2://airflow:airflow@postgres/airflow",
        "image: postgres@sha256:" + _HASH,
    ),
    ".env.example": _lines(
        "SECRET_KEY=",
        "DATABASE_URL=postgres://user:pass@localhost:5432/app",
        "API_TOKEN=<token>",
        "JWT_SECRET=change-me-to-a-long-random-string-of-32-characters-1234",
        "STRIPE_SECRET_KEY=sk_test_...",
        "OPENAI_API_KEY=sk-...",
        "GITHUB_TOKEN=ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "SLACK_WEBHOOK=https://hooks.slack.com/services/XXX/YYY/ZZZ",
        "SENTRY_DSN=https://examplePublicKey@o0.ingest.sentry.io/0",
    ),
    ".github/workflows/ci.yml": _lines(
        "- uses: actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2",
        "  with:",
        "    token: ${{ secrets.GITHUB_TOKEN }}",
        "- run: twine upload -u __token__ -p ${{ secrets.PYPI_TOKEN }}",
        "  env:",
        "    CLOUDFLARE_API_TOKEN: ${{ secrets.CLOUDFLARE_API_TOKEN }}",
    ),
    "settings.py.jinja": _lines(
        'SECRET_KEY = "{{ secret_key }}"', "postgresql://{{ user }}:{{ database_password }}@{{ host }}/{{ name }}"
    ),
    "id_ed25519.pub": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA" + _BASE64[:43] + " me@example.com\n",
    "ca.pem": _lines("-----BEGIN CERTIFICATE-----", *(_BASE64[at : at + 64] for at in range(0, 640, 64)), "-----END CERTIFICATE-----"),
    "public.pem": _lines("-----BEGIN PUBLIC KEY-----", *(_BASE64[at : at + 64] for at in range(0, 320, 64)), "-----END PUBLIC KEY-----"),
    "index.html": f'<img src="data:image/png;base64,{_BASE64}"><script integrity="sha384-{_BASE64[:64]}"></script>\n',
    "ids.json": f'{{"id": "{uuid.UUID(int=1 << 100)}", "client_id": "{uuid.UUID(int=3 << 90)}", "token_type": "bearer"}}\n',
    "openapi.yaml": _lines(
        "securitySchemes:",
        "  bearer: {type: http, scheme: bearer, bearerFormat: JWT}",
        "  apiKey: {type: apiKey, name: X-API-Key, in: header}",
        "properties:",
        "  password: {type: string, format: password, minLength: 12}",
        "  access_token: {type: string, example: the-token}",
    ),
    "terraform.tf": _lines('variable "db_password" {', "  sensitive = true", "}", "password = var.db_password"),
    "notebook.ipynb": f'{{"cells": [{{"outputs": [{{"data": {{"image/png": "{_BASE64}"}}}}]}}]}}\n',
}  # fmt: skip


def test_lets_what_is_harmless_pass(scan: Callable[..., list[SecretFinding]]) -> None:
    assert scan(**HARMLESS) == []


def test_lets_harmless_content_pass_beside_a_secret(scan: Callable[..., list[SecretFinding]]) -> None:
    # The secret sends the whole file through the second stage.
    files = {path: f"{content}{STRIPE.text}\n" for path, content in HARMLESS.items()}
    assert lines_of(scan(**files)) == {path: [content.count("\n")] for path, content in files.items()}


def test_the_shipped_templates_are_clean(scan_settings: Settings) -> None:
    root = Settings().templates_dir
    files = [make_file(str(path), path.read_bytes()) for path in root.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert find_secrets(files, settings=scan_settings) == []


COMMENTS = [
    "kingfisher:ignore", "kingfisher:allow", "gitleaks:allow", "betterleaks:allow", "trufflehog:ignore", "nosec",
    "noqa", "pragma: allowlist secret", "example test dummy",
]  # fmt: skip


def test_no_comment_switches_it_off(scan: Callable[..., list[SecretFinding]]) -> None:
    files = {comment: f"# {comment}\n{STRIPE.text} # {comment}\n# {comment}\n" for comment in COMMENTS}
    assert lines_of(scan(**files)) == {comment: [2] for comment in COMMENTS}


NAMES = ["a.png", "a.svg", "a.css", "a.min.js", "a.zip", "a.lock", "Dockerfile", ".env", "a.pyc", "-x", "a b\n.html"]


def test_no_name_switches_it_off(scan: Callable[..., list[SecretFinding]]) -> None:
    files = {name: f"{name!r}\n{STRIPE.text}\n" for name in NAMES}
    assert lines_of(scan(**files)) == {name: [2] for name in NAMES}


KEY = STRIPE.text.encode()
BYTES = {
    "zip": (b"PK\x03\x04\n" + KEY, 2),
    "sqlite": (b"SQLite format 3\0\n" + KEY, 2),
    "elf": (b"\x7fELF" + bytes(range(256)) + b"\n" + KEY + bytes(9), 3),
    "not UTF-8": (b"\xe4\xff\xfe\n\n" + KEY, 3),
    "BOM": (b"\xef\xbb\xbf\n" + KEY, 2),
    "UTF-16": (f"a\nb\n{STRIPE.text}\n".encode("utf-16"), 3),
    "first line": (KEY, 1),
    "one long line": (b"x" * 1_000_000 + b" " + KEY, 1),
}


def test_finds_it_in_any_bytes(scan: Callable[..., list[SecretFinding]]) -> None:
    found = lines_of(scan(**{name: content for name, (content, _) in BYTES.items()}))
    assert found == {name: [line] for name, (_, line) in BYTES.items()}


def test_finds_it_at_the_end_of_a_large_file(scan: Callable[..., list[SecretFinding]]) -> None:
    lines = b"some text of a line\n" * (10 * 1024 * 1024 // 20)
    assert [finding.line for finding in scan(file=lines + STRIPE.text.encode())] == [lines.count(b"\n") + 1]


def test_names_every_file_that_has_it(scan: Callable[..., list[SecretFinding]]) -> None:
    findings = scan(b=STRIPE.text, a=STRIPE.text, c="x", d="")
    assert [(finding.path, finding.line) for finding in findings] == [("a", 1), ("b", 1)]


@pytest.fixture
def replace_scanner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a shell script in the scanner's place."""
    import kingfisher

    def put(script: str) -> None:
        program = tmp_path / "kingfisher"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(stat.S_IRWXU)
        monkeypatch.setattr(kingfisher, "get_binary_path", lambda: program)

    return put


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 1", "kingfisher ended with 1; accepted are 0 and 200"),
        ("kill -9 $$", "kingfisher ended with -9; accepted"),
        ("exit 0", "the report of kingfisher is not complete"),
        ("/bin/cat ./*.txt", "the report of kingfisher is not complete"),
        ("echo '{}'", "the report of kingfisher is not complete"),
        ("""echo '{"findings": []}'""", "the report of kingfisher is not complete"),
        ("""echo '{"findings": [], "metadata": {"summary": {"blobs_scanned": 0}}}'""", "is not complete"),
        ("""echo '{"findings": [{}], "metadata": {"summary": {"blobs_scanned": 1}}}'""", "is not complete"),
        ("""echo '{"findings": null, "metadata": {"summary": {"blobs_scanned": 1}}}'""", "is not complete"),
        ("echo '[]'", "is not complete"),
    ],
)
def test_what_was_not_scanned_is_not_clean(
    scan: Callable[..., list[SecretFinding]], replace_scanner: Callable[[str], None], script: str, message: str
) -> None:
    replace_scanner(script)
    with pytest.raises(PermanentError, match=message) as caught:
        scan(file=STRIPE.text)
    assert not _said_by(caught.value, STRIPE)


def test_a_missing_scanner_is_an_error(
    scan: Callable[..., list[SecretFinding]], replace_scanner: Callable[[str], None], tmp_path: Path
) -> None:
    replace_scanner("exit 0")
    (tmp_path / "kingfisher").unlink()
    with pytest.raises(PermanentError, match=r"cannot run '.*/kingfisher' .*: No such file or directory"):
        scan(file=STRIPE.text)


def test_a_slow_scanner_is_stopped(
    scan: Callable[..., list[SecretFinding]],
    replace_scanner: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replace_scanner("/bin/cat ./*.txt; exec /bin/sleep 60")
    monkeypatch.setattr(secret_scan, "SCAN_TIMEOUT_SECONDS", 1)
    with pytest.raises(TransientError, match="longer than 1 s") as caught:
        scan(file=STRIPE.text)
    assert not _said_by(caught.value, STRIPE)


def _said_by(error: ScaffolderError, planted: PlantedSecret) -> bool:
    """Whether the error, or one that it came from, holds the secret anywhere."""
    chain: list[BaseException] = [error]
    while following := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(following)
    return any(planted.secret in repr((one.args, vars(one))) for one in chain)


def test_a_clean_batch_starts_no_scanner(
    scan: Callable[..., list[SecretFinding]], replace_scanner: Callable[[str], None]
) -> None:
    replace_scanner("exit 1")
    clean = {path: HARMLESS[path] for path in HARMLESS.keys() - {"app.py", ".env.example"}}
    assert scan(**clean, nothing=b"") == []


def test_nothing_is_left_behind(
    scan: Callable[..., list[SecretFinding]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert scan(file=STRIPE.text)
    assert list(tmp_path.iterdir()) == []
