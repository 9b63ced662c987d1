"""The documents lead where they say, and docs/operations.md names what there is."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from scaffolder.config import Settings, environment_variable
from scaffolder.doctor.findings import FindingKind
from scaffolder.observability.metrics import METRICS
from tests.conftest import CHECKOUT

DOCUMENTS = [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
OPERATIONS = (CHECKOUT / "docs" / "operations.md").read_text()
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def list_anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, as git hosts make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_of_a_document_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", document.read_text()))
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = document if not name else document.parent / name
        assert target.exists(), link
        assert not anchor or anchor in list_anchors(target.read_text()), link


def test_the_operations_page_names_metrics_settings_and_findings_that_there_are() -> None:
    metrics = set(re.findall(r"\bscaffolder\.[a-z]+\.[a-z_]+\b", re.sub(r"\([^)]*\)", "", OPERATIONS)))
    settings = set(re.findall(r"\bSCAFFOLDER_[A-Z_]+\b", OPERATIONS))
    restored = re.findall(r"^\| `([a-z-]+)` \| [^|]* \| (?:repaired|delete)", OPERATIONS, re.MULTILINE)
    assert metrics
    assert metrics <= set(METRICS)
    assert settings
    assert settings <= {environment_variable(setting.name) for setting in fields(Settings)}
    assert len(restored) == 4
    assert set(restored) <= {kind.value for kind in FindingKind}
