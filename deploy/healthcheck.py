"""Ask this container's own `/health` and exit 0 or 1. Knows EDGEFLEET_HEALTH_PORT, nothing of services."""

import os
import sys
import urllib.error
import urllib.request


def main() -> int:
    """Return 0 when `/health` answers 200 within three seconds, else 1 with the reason on stderr."""
    port = os.environ.get("EDGEFLEET_HEALTH_PORT")
    if port is None:
        return 0  # a one-off command in this image serves no port
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{int(port)}/health", timeout=3) as answer:
            return 0 if answer.status == 200 else 1
    except (OSError, urllib.error.URLError) as error:
        sys.stderr.write(f"/health on port {port}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
