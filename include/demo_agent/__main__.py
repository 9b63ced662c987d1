"""Starts the bundled agent: `python -m demo_agent --port 8900`."""

import argparse
import sys

import uvicorn

from demo_agent.app import create_app
from demo_agent.settings import read_settings


def main() -> int:
    """Serve until interrupted; refuse to start without a token."""
    parser = argparse.ArgumentParser(prog="demo_agent", description="The bundled agent of Scaffolder.")
    parser.add_argument("--port", type=int, required=True, help="TCP port to listen on")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        settings = read_settings()
    except ValueError as exc:
        sys.stderr.write(f"demo_agent: {exc}\n")
        return 2
    uvicorn.run(create_app(settings), host=arguments.host, port=arguments.port, server_header=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
