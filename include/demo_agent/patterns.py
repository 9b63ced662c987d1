"""Tells which of JSON Schema's patterns Pydantic can check: its engine is Rust's and has no look-around."""

from functools import lru_cache

from pydantic_core import SchemaError, SchemaValidator, core_schema


@lru_cache(maxsize=4096)
def is_rust_pattern(pattern: str) -> bool:
    """Say whether Pydantic's default engine can compile `pattern`."""
    try:
        SchemaValidator(core_schema.str_schema(pattern=pattern))
    except SchemaError:
        return False
    return True
