"""What may be asked on `param.reload`."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.errors import Misuse
from edgefleet.params.requests import ReloadRequest, parse_request


@pytest.mark.parametrize("payload", [b"", b"  \n", b"{}", b"null"])
def test_nothing_asked_is_everything(payload: bytes) -> None:
    assert parse_request(payload) == ReloadRequest()


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b"all", "is not readable"),
        (b"[]", "is not readable"),
        (b'{"component": 3}', "is not readable"),
        (b'{"component": "fleet", "confg_path": "x"}', "confg_path"),
        (b"\xff\xfe", "is not readable"),
        (b'{"config_path": "conf/fleet.yml"}', "needs a component"),
        (b" " * 70_000, "at most 65,536 bytes"),
    ],
)
def test_an_unreadable_payload_says_what_is_wrong_with_it(payload: bytes, told: str) -> None:
    with pytest.raises(Misuse, match=told):
        parse_request(payload)


@given(st.binary(max_size=300))
def test_any_payload_is_a_request_or_a_refusal(payload: bytes) -> None:
    with contextlib.suppress(Misuse):
        assert isinstance(parse_request(payload), ReloadRequest)
