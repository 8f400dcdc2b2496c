"""The Function library's name tells its version and its source."""

from __future__ import annotations

import re

from edgefleet import __version__
from edgefleet.bus import functions


def test_the_name_carries_the_version_and_a_hash_of_the_source() -> None:
    assert re.fullmatch(rf"fleet_{__version__.replace('.', '_')}_[0-9a-f]{{12}}", functions.LIBRARY)


def test_every_name_is_registered_and_no_placeholder_is_left() -> None:
    names = (
        functions.COMMIT,
        functions.INTENT,
        functions.CLAIM,
        functions.LATCH,
        functions.TRIM,
        functions.PARAMS_SET,
        functions.LEASE,
        functions.RELEASE,
    )

    assert functions.SOURCE.startswith(f"#!lua name={functions.LIBRARY}\n")
    assert all(f"redis.register_function('{name}'" in functions.SOURCE for name in names)
    assert "@" not in functions.SOURCE


def test_the_source_unpacks_nothing_onto_the_stack() -> None:
    code = re.sub(r"--.*", "", functions.SOURCE)

    assert re.findall(r"[\w.]*unpack", code) == [
        "cmsgpack.unpack"
    ]  # which makes a table, and puts nothing on the stack
