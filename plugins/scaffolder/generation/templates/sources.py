"""Where templates come from: the templates directories, a git repository, or a directory that a person names.

What kind of template a directory holds shows in the file that it has: ``template.yaml`` (ours), ``copier.yml`` or
``cookiecutter.json``. Their modules render them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scaffolder.config import Settings
from scaffolder.errors import TemplateError
from scaffolder.generation.templates.reference import (
    GIT_PREFIX,
    GitReference,
    LocalReference,
    check_allowed,
    parse_git_reference,
    parse_reference,
)

if TYPE_CHECKING:
    from scaffolder.generation.git_remote import GitRemote
    from scaffolder.generation.templates.contract import Template
    from scaffolder.generation.templates.foreign.template import ForeignSource
    from scaffolder.generation.templates.mirrors import Checkout
    from scaffolder.generation.templates.native.definition import NativeTemplate

NATIVE_FILE: Final = "template.yaml"
COPIER_FILES: Final = ("copier.yml", "copier.yaml")
COOKIECUTTER_FILE: Final = "cookiecutter.json"

_KINDS: Final = {NATIVE_FILE: "native", **dict.fromkeys(COPIER_FILES, "copier"), COOKIECUTTER_FILE: "cookiecutter"}


def check_reference(reference: str, *, settings: Settings) -> None:
    """Refuse what a workflow must not or cannot use, without a network: local definitions are read, git URLs are not.

    Raises TemplateError and TemplateNotAllowedError.
    """
    parsed = parse_reference(reference)
    check_allowed(parsed, settings=settings)
    if isinstance(parsed, LocalReference):
        _load_local(parsed, settings=settings)


def find_template(reference: str, *, settings: Settings, remote: GitRemote | None = None) -> Template:
    """Return the template that a workflow names; one from git is fetched where it is not on this machine yet.

    `remote` has the credentials of its host. Raises TemplateError, TemplateNotAllowedError and HostUnavailableError.
    """
    parsed = parse_reference(reference)
    check_allowed(parsed, settings=settings)
    if isinstance(parsed, LocalReference):
        return _load_local(parsed, settings=settings)
    return _load_from_git(parsed, settings=settings, remote=remote)


def open_template(location: str, *, settings: Settings) -> Template:
    """Return the template in the directory or at the git URL `location`, which a person named: all are allowed.

    Raises TemplateError and HostUnavailableError.
    """
    if location.startswith(GIT_PREFIX) or "://" in location:
        return _load_from_git(parse_git_reference(location), settings=settings, remote=None)
    directory = Path(location).expanduser().absolute()
    if not directory.is_dir():
        raise TemplateError(f"template {location!r}: accepted is a directory, or a git URL that begins with 'git+'")
    return _load_directory(directory, name=directory.name, settings=settings)


def list_templates(settings: Settings) -> list[str]:
    """Return the names of the templates in the templates directories; some may not be sound."""
    directories = settings.template_directories
    return sorted({path.parent.name for name in _KINDS for one in directories for path in one.glob(f"*/{name}")})


def find_directory(name: str, *, settings: Settings) -> Path:
    """Return where the template `name` is: in the first templates directory that has it. Raises TemplateError."""
    for directory in (one / name for one in settings.template_directories):
        if any((directory / file).is_file() for file in _KINDS):
            return directory
    places = " or ".join(map(str, settings.template_directories)) or "no directory at all"
    raise TemplateError(f"there is no template {name!r} in {places}; there are {list_templates(settings)}")


def find_kind(directory: Path) -> str:
    """Return the kind of template in `directory`: native, copier or cookiecutter. Raises TemplateError."""
    for name, kind in _KINDS.items():
        if (directory / name).is_file():
            return kind
    raise TemplateError(
        f"{str(directory)!r} is no template: accepted is a directory with one of the files {list(_KINDS)}"
    )


def _load_local(reference: LocalReference, *, settings: Settings) -> Template:
    directory = find_directory(reference.name, settings=settings)
    return _load_directory(directory, name=reference.name, settings=settings)


def _load_directory(directory: Path, *, name: str, settings: Settings) -> Template:
    from scaffolder.generation.templates.foreign.template import ForeignSource

    kind = find_kind(directory)
    if kind == "native":
        from scaffolder.generation.templates.native.definition import load_template

        return load_template(directory, directories=settings.template_directories)
    return _make_foreign(kind, ForeignSource(directory=directory, name=name))


def _load_from_git(reference: GitReference, *, settings: Settings, remote: GitRemote | None) -> Template:
    from scaffolder.generation.templates.foreign.template import ForeignSource
    from scaffolder.generation.templates.mirrors import TemplateMirror

    checkout = TemplateMirror(reference.url, settings=settings, remote=remote).check_out(reference)
    directory = _enter(checkout.directory, reference)
    kind = find_kind(directory)
    if kind == "native":
        from scaffolder.generation.templates.native.definition import load_template

        template = load_template(directory, directories=settings.template_directories)
        return _take_from_git(template, reference=reference, checkout=checkout)
    return _make_foreign(
        kind,
        ForeignSource(
            directory=directory,
            name=reference.name,
            reference=reference,
            mirror=checkout.mirror,
            commit=checkout.commit,
        ),
    )


def _take_from_git(template: NativeTemplate, *, reference: GitReference, checkout: Checkout) -> NativeTemplate:
    """Return `template`, and what it extends in the same repository, called by URL and commit."""
    inside = template.directory.relative_to(checkout.directory.resolve())
    own = replace(reference, subdirectory="" if inside == Path() else inside.as_posix())
    bases = tuple(
        _take_from_git(base, reference=reference, checkout=checkout)
        if base.directory.is_relative_to(checkout.directory.resolve())
        else base
        for base in template.bases
    )
    return replace(template, name=own.name, version=checkout.commit, bases=bases)


def _make_foreign(kind: str, source: ForeignSource) -> Template:
    if kind == "copier":
        from scaffolder.generation.templates.foreign.copier import CopierTemplate

        return CopierTemplate(source)
    from scaffolder.generation.templates.foreign.cookiecutter import CookiecutterTemplate

    return CookiecutterTemplate(source)


def _enter(checkout: Path, reference: GitReference) -> Path:
    directory = (checkout / reference.subdirectory).resolve()
    if not directory.is_dir() or not directory.is_relative_to(checkout.resolve()):
        raise TemplateError(
            f"template {str(reference)!r}: there is no directory {reference.subdirectory!r} in its repository at "
            f"{reference.ref!r}"
        )
    return directory
