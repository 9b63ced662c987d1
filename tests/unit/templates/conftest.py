from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from scaffolder.config import Settings


@pytest.fixture
def foreign_settings(tmp_path: Path) -> Settings:
    """Settings of a test's own in which code of templates' authors is allowed, where a step trusts it."""
    return replace(
        Settings(),
        templates_dir=tmp_path / "templates",
        include_shipped=False,
        cache_dir=tmp_path / "cache",
        allowed_templates="*, *://*",
        allow_trusted_templates=True,
        git_timeout_seconds=30,
    )


@pytest.fixture
def find_leftovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Path]]:
    """A function that returns what renderings of this test have left behind."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return lambda: [*temporary.iterdir(), *(tmp_path / "cache").glob("renderings/*")]


@pytest.fixture(scope="session")
def downloaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the public template sp-repo-review as ``template`` and its extensions in ``packages``."""
    if os.environ.get("SCAFFOLDER_TEST_OFFLINE") == "1":
        pytest.skip("SCAFFOLDER_TEST_OFFLINE=1: nothing is downloaded")
    directory = tmp_path_factory.mktemp("downloaded")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    sdist = ["--no-binary", "sp-repo-review", "sp-repo-review==2026.8.14"]
    extensions = ["copier-template-extensions==0.3.4", "copier-templates-extensions==0.3.2"]
    packages = ["--target", str(directory / "packages")]
    subprocess.run([*pip, "download", "--no-deps", "--dest", str(directory), *sdist], check=True)
    subprocess.run([*pip, "install", "--no-deps", *packages, *extensions], check=True)
    with tarfile.open(directory / "sp_repo_review-2026.8.14.tar.gz") as archive:
        archive.extractall(directory, filter="data")
    (directory / "sp_repo_review-2026.8.14").rename(directory / "template")
    return directory
