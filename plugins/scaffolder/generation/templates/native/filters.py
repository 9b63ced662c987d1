"""The filters that templates have beside Jinja's own, each with an example. None of them knows a clock or chance."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, kw_only=True)
class TemplateFilter:
    """A filter. `example` is a template that uses it and `result` what it gives; the docstring says the rest."""

    function: Callable[..., Any]
    example: str
    result: str

    @property
    def summary(self) -> str:
        """What it does, in one sentence."""
        return (self.function.__doc__ or "").splitlines()[0]


def to_snake(text: Any) -> str:
    """Spell words as ``snake_case``."""
    return "_".join(word.lower() for word in _words(text))


def to_kebab(text: Any) -> str:
    """Spell words as ``kebab-case``."""
    return "-".join(word.lower() for word in _words(text))


def to_pascal(text: Any) -> str:
    """Spell words as ``PascalCase``; capitals inside a word stay."""
    return "".join(word[:1].upper() + word[1:] for word in _words(text))


def to_camel(text: Any) -> str:
    """Spell words as ``camelCase``; capitals inside a later word stay."""
    first, *rest = _words(text) or [""]
    return first.lower() + "".join(word[:1].upper() + word[1:] for word in rest)


def _words(text: Any) -> list[str]:
    # str() lets an undefined value say so itself.
    spaced = re.sub(r"([a-z0-9])([A-Z])|([A-Z]+)([A-Z][a-z])", r"\1\3 \2\4", str(text))
    return re.findall(r"[^\W_]+", spaced)


def to_slug(text: Any, separator: str = "-") -> str:
    """Spell text in lower-case ASCII letters, digits and separators, as in a URL."""
    from slugify import slugify

    return slugify(str(text), separator=separator)


def to_json(value: Any, indent: int | None = None) -> str:
    """Write data as JSON, with `indent` spaces for each level or all on one line."""
    return json.dumps(value, ensure_ascii=False, indent=indent, default=_refuse)


def to_yaml(value: Any) -> str:
    """Write data as YAML in block style, keys in their order, without a newline at the end."""
    import yaml

    plain = _plain(value)
    # PyYAML writes these as they are and reads them as line ends; escaping what is not ASCII keeps them.
    readable = not any(end in to_json(plain) for end in "\x85\u2028\u2029")
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=readable, width=2**31 - 1)
    return text.removesuffix("\n").removesuffix("\n...")


def to_toml(value: Any) -> str:
    """Write a mapping as a TOML document without a newline at the end; anything else as a value on one line."""
    import tomli_w

    plain = _plain(value)
    if isinstance(plain, dict):
        return tomli_w.dumps(plain).removesuffix("\n")
    return _to_toml_value(plain)


def _to_toml_value(value: Any) -> str:
    import tomli_w

    if isinstance(value, list):
        return f"[{', '.join(_to_toml_value(item) for item in value)}]"
    if isinstance(value, dict):
        keys = [tomli_w.dumps({key: 0}).removesuffix(" = 0\n") for key in value]
        pairs = [f"{key} = {_to_toml_value(item)}" for key, item in zip(keys, value.values(), strict=True)]
        return f"{{ {', '.join(pairs)} }}" if pairs else "{}"
    return tomli_w.dumps({"v": value}).removeprefix("v = ").removesuffix("\n")


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=_refuse))


def _refuse(value: Any) -> Any:
    str(value)  # an undefined value says so itself
    raise TypeError(f"takes plain data, not {type(value).__name__}")


def regex_replace(text: Any, pattern: str, replacement: str, count: int = 0) -> str:
    r"""Replace what matches a regular expression (Python's ``re``); ``\\1`` is its first group, a `count` of 0 all."""
    return re.sub(pattern, replacement, str(text), count=count)


def to_year(date: Any) -> int:
    """Return the year of a date as ISO 8601 writes it."""
    from datetime import datetime

    text = str(date)
    try:
        return datetime.fromisoformat(text).year
    except ValueError as error:
        raise ValueError(f"year takes a date as ISO 8601 writes it, not {text[:100]!r}") from error


FILTERS: Final[Mapping[str, TemplateFilter]] = {
    "snake": TemplateFilter(function=to_snake, example="{{ 'My HTTPServer' | snake }}", result="my_http_server"),
    "kebab": TemplateFilter(function=to_kebab, example="{{ 'My HTTPServer' | kebab }}", result="my-http-server"),
    "pascal": TemplateFilter(function=to_pascal, example="{{ 'my-service' | pascal }}", result="MyService"),
    "camel": TemplateFilter(function=to_camel, example="{{ 'my-service' | camel }}", result="myService"),
    "slug": TemplateFilter(function=to_slug, example="{{ 'Über uns!' | slug }}", result="uber-uns"),
    "to_json": TemplateFilter(function=to_json, example="{{ {'a': [1, 'é']} | to_json }}", result='{"a": [1, "é"]}'),
    "to_yaml": TemplateFilter(function=to_yaml, example="{{ {'a': [1, 'é']} | to_yaml }}", result="a:\n- 1\n- é"),
    "to_toml": TemplateFilter(function=to_toml, example="{{ ['a', 1] | to_toml }}", result='["a", 1]'),
    "regex_replace": TemplateFilter(
        function=regex_replace, example="{{ 'v1.2' | regex_replace('^v([0-9])', 'r\\\\1') }}", result="r1.2"
    ),
    "year": TemplateFilter(function=to_year, example="{{ '2031-05-06T07:08:09+00:00' | year }}", result="2031"),
}
