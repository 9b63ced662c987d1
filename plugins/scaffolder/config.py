"""Every setting: name, type, default, range and environment variable (``SCAFFOLDER_`` + name).

Settings are read from the environment by `load_settings`; nothing else in the package reads it. A value that cannot
be used is refused with the range that is accepted: no setting ever falls back to its default silently.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from scaffolder.errors import SettingsError

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT_INCLUDE = _PACKAGE.parent.parent / "include"
_INCLUDE = _CHECKOUT_INCLUDE if (_CHECKOUT_INCLUDE / "workflows").is_dir() else _PACKAGE / "include"
_SHIPPED_WORKFLOWS = _INCLUDE / "workflows"
_SHIPPED_TEMPLATES = _INCLUDE / "templates"


def _setting(
    default: Any, doc: str, *, low: int | None = None, high: int | None = None, choices: tuple[str, ...] = ()
) -> Any:
    return field(default=default, metadata={"doc": doc, "low": low, "high": high, "choices": choices})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings. The environment variable of `max_file_size` is ``SCAFFOLDER_MAX_FILE_SIZE``, and so on."""

    generated_projects_dir: Path = _setting(
        Path("generated-projects"),
        "Where generated projects live. A relative path is taken from AIRFLOW_HOME. Shared by all workers.",
    )
    workflows_dir: Path = _setting(_SHIPPED_WORKFLOWS, "Where your own workflow definitions (*.yaml) are found.")
    templates_dir: Path = _setting(_SHIPPED_TEMPLATES, "Where your own templates are found, one directory each.")
    include_shipped: bool = _setting(
        default=True,
        doc="Whether the workflows and templates that ship with Scaffolder are there beside your own.",
    )
    allowed_templates: str = _setting(
        "*",
        "What workflows may use: comma-separated patterns, those with :// for git URLs, the others for names in the "
        "templates directory.",
    )
    allow_trusted_templates: bool = _setting(
        default=False,
        doc="Whether a step that says trust: true may run hooks, tasks and extensions of Copier and Cookiecutter "
        "templates: code of their authors, with the rights of the worker.",
    )
    cache_dir: Path = _setting(
        Path("scaffolder-cache"),
        "What can be made again: templates from git, compiled templates. A relative path is taken from AIRFLOW_HOME.",
    )
    render_timeout_seconds: int = _setting(120, "Seconds to render one template.", low=1, high=86_400)
    render_cpu_seconds: int = _setting(60, "Seconds of processor time to render one template.", low=1, high=86_400)
    render_memory_size: int = _setting(
        512 * MIB, "Bytes of memory to render one template.", low=128 * MIB, high=64 * GIB
    )
    generated_projects_retention_days: int = _setting(
        30, "Days that a generated project is kept after its run, where no rule says otherwise.", low=1, high=36_500
    )
    failed_retention_days: int = _setting(
        7, "The same for one that has failed; never more than for others.", low=1, high=36_500
    )
    retention_rules: str = _setting(
        "[]", "How long what is kept, by project, workflow and status, as JSON: see docs/retention.md."
    )
    retention_keep_newest: int = _setting(
        0, "Ready generated projects of each project that are kept however old, the newest.", low=0, high=1_000_000
    )
    retention_keep_unexported: bool = _setting(
        default=False, doc="Whether what is ready and was never exported is kept."
    )
    audit_days: int = _setting(
        365,
        "Days that the record of a deleted generated project stays: who, what, when, digests, where it went.",
        low=1,
        high=36_500,
    )
    cache_max_age_days: int = _setting(
        30, "Days after which what nobody has used is removed from the cache.", low=1, high=36_500
    )
    sweep_grace_hours: int = _setting(
        24, "Hours that something must be left over before it is swept.", low=0, high=8_760
    )
    sweep_max_directories: int = _setting(
        100,
        "Directories without a record that one clean-up removes; where there are more it removes none: "
        "the records may be those of another place.",
        low=0,
        high=1_000_000,
    )
    cleanup_batch_size: int = _setting(500, "Generated projects that a clean-up claims at a time.", low=1, high=10_000)
    cleanup_max_runtime_minutes: int = _setting(
        120, "Minutes after which a clean-up begins nothing more.", low=1, high=10_080
    )
    cleanup_threads: int = _setting(4, "Directories that a clean-up removes at a time.", low=1, high=64)
    cleanup_report_size: int = _setting(
        1_000, "Generated projects that a clean-up's report names; it counts all.", low=0, high=100_000
    )
    max_file_size: int = _setting(10 * MIB, "Bytes of one file of a project.", low=1, high=2 * GIB)
    max_project_files: int = _setting(20_000, "Files of one generated project.", low=1, high=1_000_000)
    max_project_size: int = _setting(500 * MIB, "Bytes of one generated project.", low=1, high=100 * GIB)
    min_free_disk_size: int = _setting(
        256 * MIB,
        "Bytes that stay free on the disk of SCAFFOLDER_GENERATED_PROJECTS_DIR: see docs/quotas.md. 0: not looked at.",
        low=0,
        high=512 * TIB,
    )
    quotas: str = _setting(
        "[]",
        "How many generated projects and bytes of them a project may have, as JSON: see docs/quotas.md.",
    )
    max_path_depth: int = _setting(32, "Directories in one path, the file's name included.", low=1, high=256)
    max_agent_response_size: int = _setting(
        64 * MIB, "Bytes of one answer of an agent, after decompression.", low=1 * KIB, high=2 * GIB
    )
    agent_timeout_seconds: int = _setting(
        300, "Seconds to wait for an agent, and for its whole answer, however slowly that drips.", low=1, high=86_400
    )
    agent_trace_context: bool = _setting(
        default=True,
        doc="Whether agents are told which trace a request belongs to, where Airflow's traces are on: see "
        "docs/observability.md.",
    )
    max_agent_json_depth: int = _setting(200, "Levels of nesting in one answer of an agent.", low=1, high=900)
    max_agent_files: int = _setting(5_000, "Files in one answer of an agent.", low=1, high=1_000_000)
    agent_tries: int = _setting(
        4, "How often one try of a task sends a request to an agent that is away for a moment.", low=1, high=100
    )
    agent_backoff_seconds: int = _setting(
        1, "Seconds before a request is sent again, more or less; doubles with each.", low=1, high=3_600
    )
    agent_max_wait_seconds: int = _setting(
        30, "Seconds that a task waits on its worker for an agent; longer waits are deferred.", low=0, high=3_600
    )
    agent_max_deferral_seconds: int = _setting(
        86_400, "Seconds that an agent may ask to be left alone; asking for more fails the task.", low=1, high=2_592_000
    )
    agent_circuit_failures: int = _setting(
        5, "Failures in a row of one agent after which no call is let through.", low=1, high=1_000
    )
    agent_circuit_seconds: int = _setting(
        60, "Seconds until one call is let through again, to see whether the agent is back.", low=1, high=86_400
    )
    agent_description_max_age_seconds: int = _setting(
        86_400, "Seconds until an agent's description is looked at again before a call.", low=0, high=31_536_000
    )
    agent_replay: str = _setting(
        "on_retry",
        "When a step that does not say takes an answer from the records instead of asking again: never, on_retry "
        "(a task that is tried again) or always (any run of the project).",
        choices=("never", "on_retry", "always"),
    )
    agent_prices: str = _setting(
        "{}",
        "What agents cost, as JSON: by model or connection, any of input and output (for a million tokens) and call.",
    )
    max_step_tokens: int = _setting(2_000_000, "Tokens that one step may use, all tries together.", low=1, high=10**12)
    max_run_tokens: int = _setting(10_000_000, "Tokens that one run may use.", low=1, high=10**12)
    max_project_tokens: int = _setting(
        200_000_000, "Tokens that one project may use in SCAFFOLDER_BUDGET_DAYS.", low=1, high=10**12
    )
    max_step_cost: int = _setting(20, "Money that one step may cost, all tries together.", low=1, high=10**9)
    max_run_cost: int = _setting(50, "Money that one run may cost.", low=1, high=10**9)
    max_project_cost: int = _setting(
        1_000, "Money that one project may cost in SCAFFOLDER_BUDGET_DAYS.", low=1, high=10**9
    )
    budget_days: int = _setting(30, "Days over which a project's tokens and money are counted.", low=1, high=36_500)
    git_timeout_seconds: int = _setting(600, "Seconds one git command may take.", low=1, high=86_400)
    export_timeout_seconds: int = _setting(60, "Seconds to wait for an answer of a git host's API.", low=1, high=86_400)
    export_tries: int = _setting(
        4,
        "How often one try of a task sends a request to a git host that is away for a moment, where that is harmless.",
        low=1,
        high=100,
    )
    export_max_wait_seconds: int = _setting(
        30, "Seconds that a task waits on its worker for a git host; longer waits are deferred.", low=0, high=3_600
    )
    export_max_deferral_seconds: int = _setting(
        86_400,
        "Seconds that a git host may ask to be left alone; asking for more fails the task.",
        low=1,
        high=2_592_000,
    )
    export_connections: str = _setting(
        "*",
        "Connections that the DAG export_repository may use: comma-separated patterns. Workflows name their own.",
    )
    github_write_interval_seconds: int = _setting(
        1, "Seconds between two requests to GitHub that write, of all workers with one connection.", low=0, high=3_600
    )
    github_writes_per_minute: int = _setting(80, "Requests to GitHub that write, in a minute.", low=1, high=1_000_000)
    github_writes_per_hour: int = _setting(500, "Requests to GitHub that write, in an hour.", low=1, high=1_000_000)
    records_connect_timeout_seconds: int = _setting(
        10, "Seconds to wait for a connection to the records' database.", low=1, high=300
    )
    records_pool_size: int = _setting(
        16, "Connections to the records' database that one process of the API server keeps.", low=1, high=1_000
    )
    api_page_size: int = _setting(50, "Records in one answer of the API, where nobody says.", low=1, high=1_000)
    api_max_page_size: int = _setting(200, "Records in one answer of the API, at most.", low=1, high=10_000)
    api_max_body_size: int = _setting(8 * MIB, "Bytes of one request to the API.", low=1 * KIB, high=1 * GIB)
    event_streams: int = _setting(
        100, "Streams of events that one process of the API server has open at a time.", low=0, high=100_000
    )
    event_stream_seconds: int = _setting(3_600, "Seconds until a stream of events ends.", low=1, high=86_400)
    event_interval_seconds: int = _setting(1, "Seconds between two looks of a stream for new events.", low=1, high=60)
    administrators: str = _setting(
        "",
        "Users, comma-separated, who may generate into and export from all projects by runs that they trigger in "
        "Airflow itself, where its auth manager cannot be asked.",
    )
    notifications: str = _setting("[]", "Who is told of what, as JSON: see docs/notifications.md.")
    notification_tries: int = _setting(8, "How often a notification is sent until it has failed.", low=1, high=100)
    notification_backoff_seconds: int = _setting(
        10, "Seconds before a notification is sent again, more or less; doubles with each.", low=1, high=86_400
    )
    notification_timeout_seconds: int = _setting(10, "Seconds to wait for a webhook's answer.", low=1, high=600)
    notification_interval_minutes: int = _setting(
        5, "Minutes between two looks for notifications that are due.", low=1, high=1_440
    )
    notification_max_age_days: int = _setting(
        7, "Days after which what happened is not told any more.", low=1, high=365
    )
    step_retries: int = _setting(2, "Retries of a step after a transient error.", low=0, high=100)
    step_retry_delay_seconds: int = _setting(
        5, "Seconds before the first retry of a step; doubles with each.", low=1, high=3_600
    )

    @property
    def workflow_directories(self) -> tuple[Path, ...]:
        """Where workflows are looked for: first one's own, which win, then those that ship."""
        return self._directories(self.workflows_dir, _SHIPPED_WORKFLOWS)

    @property
    def template_directories(self) -> tuple[Path, ...]:
        """Where templates are looked for: first one's own, which win, then those that ship."""
        return self._directories(self.templates_dir, _SHIPPED_TEMPLATES)

    def _directories(self, own: Path, shipped: Path) -> tuple[Path, ...]:
        # Whoever names no directory has no own one.
        directories = [own] if own != shipped else []
        return (*directories, shipped) if self.include_shipped else tuple(directories)


def environment_variable(name: str) -> str:
    """Return the environment variable of setting `name`."""
    return f"SCAFFOLDER_{name.upper()}"


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read all settings from `environ`.

    Raises SettingsError naming every value that cannot be used and what is accepted.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for setting in fields(Settings):
        variable = environment_variable(setting.name)
        text = environ.get(variable)
        if text is None:
            continue
        try:
            values[setting.name] = _parse(text, setting)
        except ValueError as error:
            problems.append(f"{variable}={text!r}: {error}")
    if problems:
        raise SettingsError("; ".join(problems))
    settings = Settings(**values)
    return _with_absolute_paths(settings, environ)


@cache
def get_settings() -> Settings:
    """Return the settings of this process; read once."""
    return load_settings(os.environ)


def _parse(text: str, setting: Field[Any]) -> Any:
    if isinstance(setting.default, Path):
        return _parse_path(text)
    if isinstance(setting.default, bool):
        return _parse_bool(text)
    if isinstance(setting.default, str):
        return _parse_str(text, choices=setting.metadata["choices"])
    return _parse_int(text, low=setting.metadata["low"], high=setting.metadata["high"])


def _parse_str(text: str, *, choices: tuple[str, ...]) -> str:
    if choices and text not in choices:
        raise ValueError(f"accepted are {', '.join(choices)}")
    return text


def _parse_bool(text: str) -> bool:
    # The words of Airflow's own configuration.
    word = text.strip().lower()
    if word not in {"true", "t", "1", "false", "f", "0"}:
        raise ValueError("accepted are true and false")
    return word in {"true", "t", "1"}


def _parse_int(text: str, *, low: int, high: int) -> int:
    accepted = f"accepted is a whole number from {low} to {high}"
    if not text.strip().isascii() or not text.strip().isdigit():
        raise ValueError(accepted)
    value = int(text)
    if not low <= value <= high:
        raise ValueError(accepted)
    return value


def _parse_path(text: str) -> Path:
    if not text.strip() or "\0" in text:
        raise ValueError("accepted is the path of a directory")
    return Path(text).expanduser()


def _with_absolute_paths(settings: Settings, environ: Mapping[str, str]) -> Settings:
    home = Path(environ.get("AIRFLOW_HOME") or "~/airflow").expanduser().absolute()
    paths: dict[str, Any] = {name: home / path for name, path in vars(settings).items() if isinstance(path, Path)}
    return replace(settings, **paths)
