"""The fleet's Redis Function library: its source and its names. Knows nothing of connections.

The library's name carries the version and the hash of its source, so that fleets of two versions can share a server's
Functions without replacing each other's.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files

from edgefleet import __version__

TEMPLATE = files("edgefleet.bus").joinpath("functions.lua").read_text(encoding="utf-8")
SUFFIX = f"{__version__.replace('.', '_')}_{hashlib.sha256(TEMPLATE.encode()).hexdigest()[:12]}"
LIBRARY = f"fleet_{SUFFIX}"
SOURCE = TEMPLATE.replace("@LIBRARY@", LIBRARY).replace("@SUFFIX@", SUFFIX)

COMMIT = f"fleet_commit_{SUFFIX}"
INTENT = f"fleet_intent_{SUFFIX}"
CLAIM = f"fleet_claim_{SUFFIX}"
LATCH = f"fleet_latch_{SUFFIX}"
TRIM = f"fleet_trim_{SUFFIX}"
PARAMS_SET = f"fleet_params_set_{SUFFIX}"
LEASE = f"fleet_lease_{SUFFIX}"
RELEASE = f"fleet_release_{SUFFIX}"
