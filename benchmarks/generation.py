"""A `file_generation` step beside Copier, Cookiecutter and bare Jinja2, on the same templates.

The templates are made here, each file with values, a loop and conditions, in directories with templated names: 10,
1,000 and 10,000 files of about 1 KB, and one of 10 MiB. All contenders must bring the same bytes. One template is
real: sp-repo-review, which is for both Copier and Cookiecutter; it comes from the package index.

Ours is the whole step: limits, the scan for secrets, the git commit and the rows in Postgres. The others write a
directory. Jinja2 is its plainest use: one environment, every file read, compiled, rendered, written.

Each measurement runs in a child forked from this process after all imports are done, as Airflow's workers fork tasks,
so nobody pays for imports. Seconds are wall time inside the child, the median of rounds in which the contenders
alternate. Memory is measured in a round of its own: the peak of what the child and all its descendants share with
nobody (USS), sampled every 20 ms. Ours is warm: its cache of compiled templates was filled by an earlier run, whose
time is given as cold; the scan for secrets finds nothing suspicious, so that its second stage does not run.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import itertools
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks.result import print_result
from local_airflow.postgres import EmbeddedPostgres
from scaffolder.config import Settings

ROUNDS: Final = {"files_10": 7, "files_1000": 3, "files_10000": 3, "large": 5, "real_copier": 5, "real_cookiecutter": 5}
# They take minutes for 10,000 files, and no ratio needs them there: one run, whose memory is sampled.
ONCE: Final = frozenset({("files_10000", "copier"), ("files_10000", "cookiecutter")})
REAL: Final = "sp-repo-review==2026.8.14"
LARGE_SIZE: Final = 10 * 1024 * 1024 - 4096
_SAMPLE_SECONDS: Final = 0.02
_RUN_AT: Final = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
_IMPORTS: Final = (
    "copier",
    "cookiecutter.main",
    "git",
    "jinja2",
    "jinja2.sandbox",
    "jsonschema",
    "kingfisher",
    "pathspec",
    "pydantic",
    "yaml",
    "scaffolder.generation.file_generation",
    "scaffolder.generation.secret_scan",
    "scaffolder.generation.templates.native.definition",
    "scaffolder.generation.templates.foreign.template",
    "scaffolder.generation.templates.foreign.copier",
    "scaffolder.generation.templates.foreign.cookiecutter",
    "scaffolder.generation.templates.native.rendering",
    "scaffolder.generation.templates.sources",
    "scaffolder.operators.run",
    "scaffolder.records.store",
)
# What a step's time is made of: module, attribute, and the name it has in the table. What "commit and record" has
# beyond its parts is the working tree.
_PHASES: Final = (
    ("scaffolder.generation.templates.sources", "find_template", "find the template"),
    ("scaffolder.generation.templates.native.rendering", "render_template", "render"),
    ("scaffolder.generation.templates.foreign.template", "ForeignTemplate.render", "render"),
    ("scaffolder.generation.file_generation", "refuse_secrets", "scan for secrets"),
    ("scaffolder.generation.file_generation", "commit_step", "commit and record"),
    ("scaffolder.generation.step_commit", "merge", "  check and merge"),
    ("scaffolder.generation.repository", "ProjectRepository.create", "  create the repository"),
    ("scaffolder.generation.repository", "ProjectRepository.commit", "  git commit"),
    ("scaffolder.records.store", "ProjectRecords.write_commit", "  rows"),
)

# `@` stands for where a contender keeps its values: nothing, or ``cookiecutter.``
VALUES: Final[Mapping[str, Any]] = {
    "slug": "media_library",
    "title": "Media library",
    "description": "Keeps films, records and books, and who has borrowed them",
    "owner": "library-team",
    "port": "8080",  # Cookiecutter makes every number a string
    "docker": True,
    "features": {"all": ["films", "records", "books", "loans", "readers"]},
}
TEXT: Final = '''"""Module <N> of {{ @title }}.

{{ @description }}. Owned by {{ @owner }}.
"""

from __future__ import annotations

SERVICE = "{{ @slug }}"
PORT = {{ @port }} + <N>
{% if @docker %}
IMAGE = "registry.example.com/{{ @owner }}/{{ @slug }}:{{ @port }}"
{% else %}
IMAGE = None
{% endif %}

{% for feature in @features.all %}

def list_{{ feature }}_<N>(limit: int = {{ loop.index * 10 }}) -> list[str]:
    """Return the first {{ feature }} of {{ @title }}."""
    return [f"{{ feature }}-{number}" for number in range(limit)]

{% endfor %}
{% if @features.all | length > 3 and @port != "80" %}
FEATURES = [{% for feature in @features.all %}"{{ feature }}"{{ ", " if not loop.last }}{% endfor %}]
{% endif %}
'''


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one run took: `seconds` of wall time, `peak_bytes` (0 where not sampled) and the `digest` of its files."""

    seconds: float
    peak_bytes: int
    digest: str
    phases: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One template in the syntax of each contender; `values` is None where the template's defaults are taken."""

    name: str
    templates: Mapping[str, Path]
    values: Mapping[str, Any] | None
    trusted: bool = False


Contender = Callable[[Case, Path], tuple[float, str, Mapping[str, float]]]


def main() -> None:
    """Make the templates, measure, print."""
    root = Path(tempfile.mkdtemp(prefix="scaffolder-bench-"))
    root.chmod(0o711)
    # Cookiecutter keeps its replays and configuration in the home directory.
    os.environ["HOME"] = str(root / "home")
    server = EmbeddedPostgres(root / "postgres")
    try:
        url = _prepare_records(server)
        for name in _IMPORTS:
            importlib.import_module(name)
        settings = replace(
            Settings(),
            generated_projects_dir=root / "generated-projects",
            templates_dir=root / "ours",
            include_shipped=False,
            cache_dir=root / "cache",
            allow_trusted_templates=True,
            # Compiling 10,000 files that all differ takes longer than the defaults allow.
            render_timeout_seconds=3_600,
            render_cpu_seconds=3_600,
        )
        contenders: dict[str, Contender] = {
            "ours": functools.partial(_ours, settings=settings, url=url),
            "copier": _copier,
            "cookiecutter": _cookiecutter,
            "jinja": _jinja,
        }
        _report({case.name: _measure_case(case, contenders, root=root) for case in _make_cases(root)})
    finally:
        server.stop()
        shutil.rmtree(root, ignore_errors=True)


def _prepare_records(server: EmbeddedPostgres) -> str:
    from sqlalchemy import make_url

    from scaffolder.records import schema

    server.start()
    server.create_database("records")
    schema.migrate(make_url(server.url("records", driver="psycopg")))
    return server.url("records")


# The templates


def _make_cases(root: Path) -> Iterator[Case]:
    for count in (10, 1_000, 10_000):
        sources = {f"{_directory_of(number)}/module_{number}.py": TEXT for number in range(count)}
        yield _make_case(f"files_{count}", sources, root=root)
    line = "A line of a large file, which nothing in it changes.\n"
    yield _make_case("large", {"docs/{{ @slug }}.md": TEXT + line * (LARGE_SIZE // len(line))}, root=root)
    yield from _make_real_cases(root)


def _make_real_cases(root: Path) -> Iterator[Case]:
    """Make the real template's cases, one for each of the two tools; ours takes the tool whose file it finds."""
    real = _download(root / "real")
    if real is None:
        return
    kinds = {"copier": "cookiecutter.json", "cookiecutter": "copier.yml"}
    if importlib.util.find_spec("copier_templates_extensions") is None:
        print(f"Without {REAL} by Copier: its extensions (copier-templates-extensions) are not here.", file=sys.stderr)
        del kinds["copier"]
    for tool, file_of_other in kinds.items():
        name = f"real_{tool}"
        ours = root / "ours" / name
        shutil.copytree(real, ours)
        (ours / file_of_other).unlink()
        yield Case(name=name, templates={"ours": ours, tool: real}, values=None, trusted=True)


def _directory_of(number: int) -> str:
    return f"src/{{{{ @slug }}}}/part_{number // 100}/{{{{ @owner }}}}_{number // 10 % 10}"


def _make_case(name: str, sources: Mapping[str, str], *, root: Path) -> Case:
    import yaml

    templates = {contender: root / contender / name for contender in ("ours", "copier", "cookiecutter", "jinja")}
    for contender, directory in templates.items():
        prefix, suffix = ("cookiecutter.", "") if contender == "cookiecutter" else ("", ".jinja")
        base = directory / "{{ cookiecutter.slug }}" if contender == "cookiecutter" else directory
        for number, (path, text) in enumerate(sources.items()):
            target = base / (path.replace("@", prefix) + suffix)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text.replace("<N>", str(number)).replace("@", prefix))
    types = {str: ("string", "str"), bool: ("boolean", "bool"), dict: ("object", "yaml")}
    schema = {
        "type": "object",
        "properties": {key: {"type": types[type(value)][0]} for key, value in VALUES.items()},
        "required": list(VALUES),
    }
    definition = {"name": name, "version": "1.0.0", "description": "A benchmark", "values": schema}
    (templates["ours"] / "template.yaml").write_text(yaml.safe_dump(definition))
    questions = {key: {"type": types[type(value)][1]} for key, value in VALUES.items()}
    (templates["copier"] / "copier.yml").write_text(yaml.safe_dump(questions))
    (templates["cookiecutter"] / "cookiecutter.json").write_text(_to_json(VALUES))
    return Case(name=name, templates=templates, values=VALUES)


def _to_json(value: Any) -> str:
    import json

    return json.dumps(value)


def _download(directory: Path) -> Path | None:
    """Return the unpacked source distribution of REAL, or None where the package index does not answer."""
    options = ("--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(directory), REAL)
    got = subprocess.run([sys.executable, "-m", "pip", "download", *options], check=False, stdin=subprocess.DEVNULL)
    archives = sorted(directory.glob("*.tar.gz"))
    if got.returncode != 0 or not archives:
        print(f"Without the real template: {REAL} cannot be downloaded.", file=sys.stderr)
        return None
    with tarfile.open(archives[0]) as archive:
        archive.extractall(directory, filter="data")
    return next(path for path in directory.iterdir() if path.is_dir())


# The contenders: each returns the seconds it took and what it made


def _ours(case: Case, directory: Path, *, settings: Settings, url: str) -> tuple[float, str, Mapping[str, float]]:
    from scaffolder.generation.file_generation import GenerationRequest, TemplateUse, generate_files
    from scaffolder.generation.merge import TreeEdits
    from scaffolder.generation.step_commit import get_project_directory
    from scaffolder.operators.run import open_generated_project
    from scaffolder.records.models import RunIdentity
    from scaffolder.records.store import ProjectRecords

    run = RunIdentity(dag_id="benchmark", run_id=directory.name, run_at=_RUN_AT, triggered_by=None)
    use = TemplateUse(reference=case.name, values=case.values or {})
    request = GenerationRequest(edits=TreeEdits(), templates=[use], trust=case.trusted)
    with psycopg.connect(url, autocommit=True) as connection:
        records = ProjectRecords(connection)
        project = open_generated_project(
            records, run, project="default", name="benchmark", workflow="benchmark", params={}
        )
        with _timed_phases() as phases:
            begin = time.perf_counter()
            generate_files(records, project, step_id="files", request=request, settings=settings)
            seconds = time.perf_counter() - begin
    made = get_project_directory(project.id, settings=settings)
    digest = _digest(made / "repository")
    shutil.rmtree(made)
    return seconds, digest, phases


def _copier(case: Case, directory: Path) -> tuple[float, str, Mapping[str, float]]:
    import copier

    begin = time.perf_counter()
    copier.run_copy(
        str(case.templates["copier"]),
        directory,
        data=dict(case.values or {}),
        defaults=True,
        quiet=True,
        unsafe=case.trusted,
    )
    return time.perf_counter() - begin, _digest(directory), {}


def _cookiecutter(case: Case, directory: Path) -> tuple[float, str, Mapping[str, float]]:
    from cookiecutter.main import cookiecutter  # type: ignore[import-untyped]

    begin = time.perf_counter()
    made = cookiecutter(str(case.templates["cookiecutter"]), no_input=True, output_dir=str(directory))
    return time.perf_counter() - begin, _digest(Path(made)), {}


def _jinja(case: Case, directory: Path) -> tuple[float, str, Mapping[str, float]]:
    from jinja2 import Environment

    begin = time.perf_counter()
    environment = Environment(keep_trailing_newline=True)
    root, values = case.templates["jinja"], case.values or {}
    for parent, _, names in os.walk(root):
        for name in names:
            source = Path(parent, name)
            relative = environment.from_string(str(source.relative_to(root))).render(values)
            target = directory / relative.removesuffix(".jinja")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(environment.from_string(source.read_text()).render(values))
    return time.perf_counter() - begin, _digest(directory), {}


def _digest(directory: Path) -> str:
    """Return what stands for all paths and bytes below `directory`, git's own left out."""
    digest = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        relative = path.relative_to(directory)
        if path.is_file() and relative.parts[0] != ".git":
            digest.update(str(relative).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@contextmanager
def _timed_phases() -> Iterator[dict[str, float]]:
    """Add up the wall time of each phase. The process ends afterwards, so nothing is put back."""
    seconds: dict[str, float] = {}
    for module, attribute, label in _PHASES:
        owner: Any = importlib.import_module(module)
        *parents, name = attribute.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        setattr(owner, name, _timed(getattr(owner, name), label=label, seconds=seconds))
    yield seconds


def _timed(function: Callable[..., Any], *, label: str, seconds: dict[str, float]) -> Callable[..., Any]:
    @functools.wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        begin = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            seconds[label] = seconds.get(label, 0) + time.perf_counter() - begin

    return run


# The measurements


def _measure_case(case: Case, contenders: Mapping[str, Contender], *, root: Path) -> dict[str, list[Measurement]]:
    """Return the measurements of each contender: one with memory, then the rounds; before them, ours when cold."""
    taking_part = {name: contenders[name] for name in case.templates}
    found: dict[str, list[Measurement]] = {name: [] for name in taking_part}
    for number in range(ROUNDS[case.name] + 2):
        for name, contender in taking_part.items():
            if (number == 0 and name != "ours") or (number > 1 and (case.name, name) in ONCE):
                continue
            found[name].append(_measure(case, contender, root=root, sampled=number == 1))
        print(f"{case.name}: round {number} of {ROUNDS[case.name] + 1}", file=sys.stderr)
    digests = {name: measurements[0].digest for name, measurements in found.items()}
    if len(set(digests.values())) > 1:
        raise SystemExit(f"{case.name}: the contenders do not bring the same files: {digests}")
    return found


_numbers = itertools.count()


def _measure(case: Case, contender: Contender, *, root: Path, sampled: bool) -> Measurement:
    """Run `contender` in a forked child, and sample its memory where asked."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    directory = root / "output" / f"run_{next(_numbers)}"
    directory.mkdir(parents=True)
    child = context.Process(target=_run, args=(case, contender, directory, sender))
    child.start()
    sender.close()
    peak = 0
    while not receiver.poll(_SAMPLE_SECONDS if sampled else None):
        peak = max(peak, _unshared_bytes(child.pid))
    try:
        seconds, digest, phases = receiver.recv()
    except EOFError:
        raise SystemExit(f"{case.name}: a contender failed") from None
    child.join()
    shutil.rmtree(directory)
    return Measurement(seconds=seconds, peak_bytes=peak, digest=digest, phases=phases)


def _run(case: Case, contender: Contender, directory: Path, sender: Connection) -> None:
    try:
        sender.send(contender(case, directory))
    except BaseException:
        traceback.print_exc()
        raise


def _unshared_bytes(pid: int | None) -> int:
    total = 0
    try:
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return 0
    for process in family:
        try:
            total += process.memory_full_info().uss
        except psutil.Error:
            continue
    return total


# The report


def _report(measured: Mapping[str, Mapping[str, list[Measurement]]]) -> None:
    seconds = {
        (case, name): statistics.median(one.seconds for one in _list_rounds(name, measurements))
        for case, contenders in measured.items()
        for name, measurements in contenders.items()
    }
    ratios = {
        "copier_1000": seconds["files_1000", "ours"] / seconds["files_1000", "copier"],
        "cookiecutter_1000": seconds["files_1000", "ours"] / seconds["files_1000", "cookiecutter"],
        "jinja_10000": seconds["files_10000", "ours"] / seconds["files_10000", "jinja"],
        "growth_10000_over_1000": seconds["files_10000", "ours"] / seconds["files_1000", "ours"],
    }
    figures = {"peak_mb": _get_peak_mb(measured["files_10000"]["ours"])}
    for (case, name), value in seconds.items():
        figures[f"{case}_{name}_seconds"] = value
    for case, contenders in measured.items():
        figures[f"{case}_ours_cold_seconds"] = contenders["ours"][0].seconds
        figures |= {f"{case}_{name}_peak_mb": _get_peak_mb(found) for name, found in contenders.items()}
    _print_phases(measured)
    print_result("generation", ratios=ratios, figures=figures)


def _list_rounds(name: str, measurements: list[Measurement]) -> list[Measurement]:
    """Leave out the run whose memory was sampled, where there are others, and our cold one."""
    return measurements[2 if name == "ours" else 1 :] or measurements


def _get_peak_mb(measurements: list[Measurement]) -> float:
    return max(one.peak_bytes for one in measurements) / 1e6


def _print_phases(measured: Mapping[str, Mapping[str, list[Measurement]]]) -> None:
    table = Table(title="Where our time goes, in milliseconds (medians, warm)", title_justify="left")
    table.add_column("phase")
    for case in measured:
        table.add_column(case, justify="right")
    runs = {case: _list_rounds("ours", contenders["ours"]) for case, contenders in measured.items()}
    for label in dict.fromkeys(label for _, _, label in _PHASES):
        table.add_row(
            label,
            *(f"{statistics.median(one.phases.get(label, 0) for one in found) * 1e3:,.1f}" for found in runs.values()),
        )
    table.add_row("all", *(f"{statistics.median(one.seconds for one in found) * 1e3:,.1f}" for found in runs.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
