"""Copier, in the child process: what a template asks for, and its rendering."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from copier._main import Worker
from copier._settings import SettingsModel

from scaffolder.generation.templates.foreign.child import ProblemError


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Render ``source`` at ``ref`` (a git URL), or ``directory`` where there is no ref, with ``values``."""
    output = Path(request["output"], request["folder"])
    with Worker(
        src_path=request["source"],
        dst_path=output,
        data=request["values"],
        vcs_ref=request["ref"],
        settings=SettingsModel(),
        defaults=True,
        quiet=True,
        unsafe=request["trusted"],
    ) as worker:
        if request["ref"] is None:
            # The directory is the template as it is, whatever Copier would make of a repository there.
            vars(worker.template).update(vcs=None, local_abspath=Path(request["directory"]), commit=request["commit"])
        demands = _list_demands(worker.template)
        names = list(worker.template.questions_data)
        if request["inspect"]:
            return {"demands": demands, "names": names}
        if demands and not request["trusted"]:
            return {"demands": demands}
        if unknown := sorted(set(request["values"]) - set(names)):
            raise ProblemError(f"it has no values {unknown}; accepted are {sorted(names)}")
        # Made here, it is also there for a template without files, and Copier doesn't remove it with an error's reason.
        output.mkdir()
        worker.run_copy()
    return {"directory": request["folder"]}


def _list_demands(template: Any) -> list[str]:
    # Migrations run in updates only, which people do later and elsewhere; the project would bring them along.
    files = [path.name for path in Path(template.local_abspath).glob("copier.y*ml")]
    file = files[0] if files else "copier.yml"
    extensions = [f"{file}: _jinja_extensions, {str(name)!r}" for name in template.jinja_extensions]
    tasks = [f"{file}: _tasks[{index}], {task.cmd!r}" for index, task in enumerate(template.tasks)]
    migrations = [f"{file}: _migrations"] if template.config_data.get("migrations") else []
    return extensions + tasks + migrations
