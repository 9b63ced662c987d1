"""The bundled agent: an HTTP service that turns an OpenAPI document into Pydantic models and FastAPI routes.

It is deterministic and calls no language model, so workflows can be tried and tested without an account anywhere.
"""

__version__ = "1.0.0"
