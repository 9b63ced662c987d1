"""A GitHub that remembers, refuses and fails: REST, GraphQL and git on one port of 127.0.0.1."""

from tests.github_peer.peer import GithubPeer
from tests.github_peer.server import serve_github
from tests.github_peer.traffic import SecondaryLimits

__all__ = ["GithubPeer", "SecondaryLimits", "serve_github"]
