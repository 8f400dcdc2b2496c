"""Migrate the database whose URL is on stdin; tell each foreseen failure in one line and an exit code."""

from __future__ import annotations

import sys

from edgefleet.errors import Misuse, OutOfReach
from edgefleet.store.db import MISUSE, LedgerDatabase


def main() -> int:
    """Return 0, 2 where the tables are of a newer program, 3 where the database does not answer."""
    database = LedgerDatabase(sys.stdin.read().strip())
    try:
        database.migrate()
    except Misuse as error:
        sys.stderr.write(f"{error}\n")
        return MISUSE
    except OutOfReach as error:
        sys.stderr.write(f"{error}\n")
        return 3
    finally:
        database.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
