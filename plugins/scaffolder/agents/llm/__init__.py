"""Language models through the connections of apache-airflow-providers-common-ai: text, structured data and files.

Every answer of a model is data: no tool is ever offered to it or run for it.
"""

from __future__ import annotations

from scaffolder.agents.llm.agent import LlmAgent
from scaffolder.agents.llm.connection import LlmConnection, parse_llm_connection

__all__ = ["LlmAgent", "LlmConnection", "parse_llm_connection"]
