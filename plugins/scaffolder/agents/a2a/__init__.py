"""Agents that speak A2A (https://a2a-protocol.org), version 1.x and, where an agent has nothing newer, 0.3.

`card` reads what an agent says of itself, `contents` what goes to it and comes back, `exchange` holds the protocol (the
only module that needs its library), and `agent` is what a step talks to.
"""

from scaffolder.agents.a2a.agent import A2aAgent
from scaffolder.agents.a2a.card import CARD_PATH, AgentCard, AgentInterface, parse_card

__all__ = ["CARD_PATH", "A2aAgent", "AgentCard", "AgentInterface", "parse_card"]
