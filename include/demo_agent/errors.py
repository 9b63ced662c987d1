"""Errors of the bundled agent.

AgentError
├── DocumentRefusedError      the document (or name) cannot be accepted; the message says what, where and what can be
└── GenerationStoppedError    generation used more time or memory than allowed
"""


class AgentError(Exception):
    """Any failure this service reports to its caller."""


class DocumentRefusedError(AgentError):
    """The document cannot be turned into a service, however often it is sent."""


class GenerationStoppedError(AgentError):
    """Generation was stopped at one of its limits."""
