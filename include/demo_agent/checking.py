"""Checks values against the schemas of one document, with the dialect its OpenAPI version prescribes."""

from typing import Any

from jsonschema import ValidationError
from openapi_schema_validator import OAS30Validator, OAS31Validator
from referencing import Registry, Specification

from demo_agent import pointers
from demo_agent.document import Document, mapping, sequence

_DOCUMENT_URI = "urn:document"


class UncheckableSchemaError(ValueError):
    """A schema is no schema: a type that does not exist, a keyword of the wrong kind, a reference without end."""


class SchemaChecker:
    """Checks values against schemas of `document`.

    `data` is a copy of the document whose references are absolute, so that any schema taken out of it stands alone.
    """

    def __init__(self, document: Document) -> None:
        self.data = _absolute(document.data)
        self._validator = OAS30Validator if document.version == "3.0" else OAS31Validator
        resource = Specification.OPAQUE.create_resource(self.data)
        self._registry: Registry[Any] = Registry().with_resource(_DOCUMENT_URI, resource)

    def schema_at(self, pointer: str) -> Any:
        """Return a schema that means the one at `pointer`."""
        return {"$ref": _DOCUMENT_URI + pointer}

    def target_of(self, reference: str) -> Any:
        """Return the schema an absolute reference names."""
        return pointers.resolve(self.data, pointer=reference.removeprefix(_DOCUMENT_URI))

    def problem_of(self, value: Any, *, schema: Any, is_request: bool = False) -> str | None:
        """Return what is wrong with `value` under `schema`, or None. A request may lack what is `readOnly`.

        Raises:
            UncheckableSchemaError: the schema cannot be evaluated.
        """
        try:
            validator = self._validator(schema, registry=self._registry, format_checker=self._validator.FORMAT_CHECKER)
            errors = validator.iter_errors(value)
            error = next((error for error in errors if not (is_request and _lacks_read_only(error))), None)
        except (
            Exception
        ) as exc:  # whatever a malformed schema makes of the library: UnknownType, TypeError, re.error...
            raise UncheckableSchemaError(
                f"{type(exc).__name__}: {str(exc).strip().partition(chr(10))[0][:120]}"
            ) from exc
        return None if error is None else f"{error.message[:200]} at {error.json_path[:120]}"


def _lacks_read_only(error: ValidationError) -> bool:
    """Say whether the error is that `readOnly` properties are missing, which OpenAPI allows in requests."""
    if error.validator != "required" or not isinstance(error.instance, dict):
        return False
    properties = mapping(mapping(error.schema).get("properties"))
    missing = [name for name in sequence(error.validator_value) if name not in error.instance]
    return all(mapping(properties.get(name)).get("readOnly") is True for name in missing)


def _absolute(value: Any) -> Any:
    if isinstance(value, list):
        return [_absolute(item) for item in value]
    if not isinstance(value, dict):
        return value
    result = {key: _absolute(item) for key, item in value.items()}
    reference = value.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        result["$ref"] = _DOCUMENT_URI + reference
    discriminator = value.get("discriminator")
    if isinstance(discriminator, dict) and "mapping" in discriminator:
        result["discriminator"]["mapping"] = {
            key: _DOCUMENT_URI + str(target) for key, target in mapping(discriminator["mapping"]).items()
        }
    return result
