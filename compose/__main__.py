"""`python -m compose COMMAND`, run by the services ``secrets`` and ``init``. Failures are told in one line."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from compose.secret_files import SECRETS, SecretError, read_secret, renew_secret, set_secret, write_secrets

DIRECTORY = Path("/run/scaffolder")
_NEXT = "`docker compose up --detach --force-recreate` makes the services use it."


def main(arguments: list[str] | None = None, *, directory: Path = DIRECTORY) -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m compose", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("secrets", help="make the secrets that are not there yet")
    show = commands.add_parser("show", help="print a secret")
    show.add_argument("name", choices=sorted(SECRETS))
    renew = commands.add_parser("renew", help="make a secret anew; the services have to be started again then")
    renew.add_argument("name", choices=sorted(SECRETS))
    change = commands.add_parser("set", help="replace a secret by what comes on standard input")
    change.add_argument("name", choices=sorted(SECRETS))
    commands.add_parser("databases", help="make both databases and their users, with the passwords of today")
    commands.add_parser("administrator", help="make the first user, if there is none of that name")
    chosen = parser.parse_args(arguments)
    try:
        match chosen.command:
            case "secrets":
                made = write_secrets(directory, environment=os.environ)
                print(f"Made: {', '.join(made)}." if made else "All secrets are there.")
            case "show":
                print(read_secret(directory, chosen.name))
            case "renew":
                renew_secret(directory, chosen.name)
                print(f"Made: {chosen.name}. {_NEXT}")
            case "set":
                set_secret(directory, chosen.name, sys.stdin.readline().strip())
                print(f"Set: {chosen.name}. {_NEXT}")
            case "databases":
                from compose.databases import ensure_databases

                ensure_databases(directory)
            case "administrator":
                from compose.administrator import ensure_administrator

                print(ensure_administrator(read_secret(directory, "admin_password")))
    except SecretError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
