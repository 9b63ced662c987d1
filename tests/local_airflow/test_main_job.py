from __future__ import annotations

from pathlib import Path

import pytest

from local_airflow.errors import LocalAirflowError
from local_airflow.main_job import DOCUMENT_SIZE_LIMIT_BYTES, openapi_job


def test_the_job_carries_the_document_itself(tmp_path: Path) -> None:
    (tmp_path / "api.yaml").write_text("openapi: 3.0.0\n")
    job = openapi_job(tmp_path / "api.yaml", name="my-service")
    assert job.conf["document"] == "openapi: 3.0.0\n"
    assert job.conf["name"] == "my-service"
    assert job.conf["target"] == "archive"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b"", "the file is empty"),
        (b"\xff\xfe\x00", "not UTF-8 text"),
        (b" " * (DOCUMENT_SIZE_LIMIT_BYTES + 1), f"accepted are at most {DOCUMENT_SIZE_LIMIT_BYTES}"),
    ],
)
def test_names_a_document_that_cannot_be_used(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "api.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LocalAirflowError, match=message) as caught:
        openapi_job(path, name="my-service")
    assert str(path) in str(caught.value)


def test_a_directory_is_no_document(tmp_path: Path) -> None:
    with pytest.raises(LocalAirflowError, match="not a file"):
        openapi_job(tmp_path, name="my-service")


@pytest.mark.parametrize("name", ["", "a", "My-Service", "1st", "a_b", "a" * 40, "../x", "ab\n"])
def test_names_an_unusable_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(LocalAirflowError, match="NAME="):
        openapi_job(tmp_path, name=name)
