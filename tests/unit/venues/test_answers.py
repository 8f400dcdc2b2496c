"""What comes in place of an answer is told as what it is, and by what is to be done about it."""

from __future__ import annotations

import ssl

import pytest

from edgefleet.errors import FleetError, Misuse, OutOfReach, Transient
from edgefleet.venues.answers import RefusedForGood, page_title, refusal, unverified
from edgefleet.venues.rest import PublicRest

PAGE = b"<!DOCTYPE html>\n<html><head><title>\n Under\n maintenance </title></head><body><h1>Hello</h1></body></html>"


@pytest.mark.parametrize(
    ("body", "title"),
    [
        (PAGE, "Under maintenance"),
        (b"\xef\xbb\xbf<html><h1 class=x>Hello</h1>", "Hello"),
        (b"<html><p>Restricted <b>here</b></p></html>", "Restricted here"),
        (b"<html></html>", ""),
    ],
)
def test_a_page_is_known_by_its_title(body: bytes, title: str) -> None:
    assert page_title(body) == title


@pytest.mark.parametrize("body", [b"", b'{"error":"<html>"}', b"[1]"])
def test_what_is_no_page_has_no_title(body: bytes) -> None:
    assert page_title(body) is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RefusedForGood),
        (403, OutOfReach),
        (404, RefusedForGood),
        (418, Transient),
        (429, Transient),
        (503, Transient),
    ],
)
def test_a_refusal_is_what_is_to_be_done_about_it(status: int, kind: type[FleetError]) -> None:
    assert type(refusal("GET x", status, b"")) is kind


def test_a_maintenance_page_is_told_by_its_title() -> None:
    assert str(refusal("GET x", 503, PAGE)) == "GET x answered 503: HTML, not JSON: Under maintenance"


def test_a_geo_block_is_told_as_one() -> None:
    error = refusal("GET x", 451, b'{"msg":"restricted location"}')

    assert type(error) is OutOfReach
    assert "geo-block" in str(error)
    assert "restricted location" in str(error)


def test_a_certificate_that_does_not_verify_is_found_behind_what_it_led_to() -> None:
    cause = ssl.SSLCertVerificationError(1, "self-signed certificate")
    outer = ConnectionError("all attempts failed")
    outer.__cause__ = cause

    assert unverified(outer) == "self-signed certificate"
    assert unverified(ConnectionError("refused")) is None


@pytest.mark.parametrize("root", ["api.kraken.com", "ftp://api.kraken.com", "https://", "https://[x", "http://a b"])
async def test_an_address_that_is_none_is_misuse_and_asked_nothing(root: str) -> None:
    rest = PublicRest(root, venue="kraken")

    with pytest.raises(Misuse, match=r"kraken: GET .*: this is no address"):
        await rest.get("/time")
    await rest.close()
