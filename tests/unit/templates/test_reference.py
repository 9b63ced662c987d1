from __future__ import annotations

from dataclasses import replace

import pytest

from scaffolder.config import Settings
from scaffolder.errors import TemplateError, TemplateNotAllowedError
from scaffolder.generation.templates.reference import GitReference, LocalReference, check_allowed, parse_reference

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fastapi_service", LocalReference(name="fastapi_service")),
        (
            "git+https://github.com/acme/templates.git@v1.2.0#subdirectory=python/service",
            GitReference(url="https://github.com/acme/templates.git", ref="v1.2.0", subdirectory="python/service"),
        ),
        ("git+http://git.local:8080/t@1", GitReference(url="http://git.local:8080/t", ref="1")),
        ("git+https://GitHub.com:443/acme/t/@v1", GitReference(url="https://github.com/acme/t", ref="v1")),
        (f"git+file:///srv/t.git@{COMMIT}", GitReference(url="file:///srv/t.git", ref=COMMIT)),
        ("git+https://h/t.git@release/2.0", GitReference(url="https://h/t.git", ref="release/2.0")),
        ("git+https://h/t.git@pkg%401.0", GitReference(url="https://h/t.git", ref="pkg@1.0")),
        ("git+https://h/~ada/t.git@v1+local", GitReference(url="https://h/~ada/t.git", ref="v1+local")),
    ],
)
def test_reads_names_and_pinned_git_urls(text: str, expected: object) -> None:
    assert parse_reference(text) == expected


@pytest.mark.parametrize(
    "text", ["git+https://github.com/acme/t.git@v1#subdirectory=a/b", f"git+file:///srv/t@{COMMIT}"]
)
def test_a_git_reference_is_written_as_it_was_read(text: str) -> None:
    assert str(parse_reference(text)) == text


@pytest.mark.parametrize(
    ("ref", "is_commit"),
    [(COMMIT, True), (COMMIT[:-1], False), (COMMIT.upper(), False), ("v1", False)],
)
def test_only_a_full_id_is_a_commit(ref: str, is_commit: bool) -> None:
    assert GitReference(url="https://h/t", ref=ref).is_commit is is_commit


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "accepted is the name of a directory"),
        ("../secrets", "accepted is the name of a directory"),
        ("a/b", "accepted is the name of a directory"),
        ("-x", "accepted is the name of a directory"),
        ("a\n", "accepted is the name of a directory"),
        ("https://github.com/acme/t.git@v1", r"scheme 'https'.*accepted are \['git\+file'"),
        ("git+ssh://github.com/acme/t.git@v1", r"scheme 'git\+ssh'"),
        ("git+ext::sh -c x@v1", r"scheme 'git\+ext'"),
        ("git+/srv/t@v1", r"scheme 'git\+/srv/t@v1' and the host ''"),
        ("git+https:///t@v1", "the host ''"),
        ("git+file://host/t@v1", "the host 'host'"),
        ("git+https://h:x/t@v1", "has a host or port that cannot be read"),
        ("git+https://h/t.git", "has no ref; accepted is a tag or a full commit"),
        ("git+https://h/t.git@", "ref is ''; accepted is a tag or a full commit"),
        ("git+https://h/t.git@--upload-pack=x", "ref is '--upload-pack=x'"),
        ("git+https://h/t.git@a..b", "ref is 'a..b'"),
        ("git+https://h/t.git@v1.lock", "ref is 'v1.lock'"),
        ("git+https://h/t.git@v1%0a", r"ref is 'v1\\n'"),
        ("git+https://h/t.git@v^{}", "ref is"),
        ("git+https://h@v1", "has credentials or a query"),
        ("git+https://h/@v1", "its repository is ''"),
        ("git+https://h/acme/../evil/t.git@v1", "accepted is a plain path without"),
        ("git+https://h/acme/%2e%2e/evil/t.git@v1", "accepted is a plain path without"),
        ("git+https://h/acme%2f..%2fevil/t.git@v1", "accepted is a plain path without"),
        ("git+https://h/acme//t.git@v1", "accepted is a plain path without"),
        ("git+https://h/acme%5c..%5ct.git@v1", "accepted is a plain path without"),
        ("git+https://h/a%00b@v1", "accepted is a plain path without"),
        ("git+https://h/t.git@v1#egg=x", "its fragment is 'egg=x'; accepted is 'subdirectory=<path>'"),
        ("git+https://h/t.git@v1#subdirectory=a&subdirectory=b", "its fragment is"),
        ("git+https://h/t.git@v1#subdirectory=../x", r"its subdirectory has a part '\.\.'"),
        ("git+https://h/t.git@v1#subdirectory=", "its subdirectory is empty"),
        ("git+https://h/t.git@v1#subdirectory=.git/hooks", "its subdirectory has a part that git keeps"),
    ],
)
def test_refuses_what_is_no_pinned_reference(text: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        parse_reference(text)


@pytest.mark.parametrize(
    "text",
    [
        "git+https://ada:s3cret@github.com/acme/t.git@v1",
        "git+https://s3cret@github.com/acme/t.git@v1",
        "https://ada:s3cret@github.com/acme/t.git@v1",
        "git+https:/ada:s3cret@github.com/acme/t.git@v1",
        "git+https://github.com/acme/t.git?token=s3cret@v1",
        "git+https://github.com/acme/t.git?token=s3cret",
        "git+https://ada:s3cret@h:port/t.git@v1",
        "git+https://ada:s3cret/t.git@v1",
        "ada:s3cret@github.com/acme/t.git",
    ],
)
def test_never_repeats_credentials(text: str) -> None:
    with pytest.raises(TemplateError) as caught:
        parse_reference(text)
    assert "s3cret" not in f"{caught.value}{caught.value.__cause__}"


@pytest.mark.parametrize(
    ("allowed", "reference", "is_allowed"),
    [
        ("*", "service", True),
        ("*", "git+https://github.com/acme/t.git@v1", False),
        ("*, https://github.com/acme/*", "git+https://github.com/acme/t.git@v1#subdirectory=a", True),
        ("https://github.com/acme/*", "git+https://github.com/acme-evil/t.git@v1", False),
        ("https://github.com/acme/*", "git+http://github.com/acme/t.git@v1", False),
        ("https://github.com/acme/*", "git+https://github.com:444/acme/t.git@v1", False),
        ("https://github.com/acme/*", "git+https://GITHUB.com:443/acme/t.git@v1", True),
        ("https://github.com/acme/*", "service", False),
        ("fastapi_*,worker", "fastapi_service", True),
        ("fastapi_*,worker", "worker", True),
        ("fastapi_*,worker", "Worker", False),
        ("file:///srv/*", "git+file:///srv/t@v1", True),
        ("*://*", "git+file:///srv/t@v1", True),
        ("", "service", False),
    ],
)
def test_allows_what_a_pattern_of_its_kind_matches(allowed: str, reference: str, is_allowed: bool) -> None:
    settings = replace(Settings(), allowed_templates=allowed)
    if is_allowed:
        check_allowed(parse_reference(reference), settings=settings)
    else:
        with pytest.raises(TemplateNotAllowedError, match="SCAFFOLDER_ALLOWED_TEMPLATES"):
            check_allowed(parse_reference(reference), settings=settings)


def test_says_what_is_allowed() -> None:
    settings = replace(Settings(), allowed_templates="*, https://github.com/acme/*")
    with pytest.raises(TemplateNotAllowedError) as caught:
        check_allowed(parse_reference("git+https://github.com/evil/t.git@v1"), settings=settings)
    assert str(caught.value) == (
        "template 'https://github.com/evil/t.git' is not allowed; accepted git URLs (SCAFFOLDER_ALLOWED_TEMPLATES) are "
        "['https://github.com/acme/*']"
    )
