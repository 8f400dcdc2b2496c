"""The data dictionary tells of every field of every message."""

from __future__ import annotations

import msgspec
import pytest

from edgefleet.messages import Quote
from edgefleet.messages.codec import MESSAGE_TYPES
from edgefleet.messages.dictionary import MEANINGS, fields, page, parts


@pytest.mark.parametrize("tag", MESSAGE_TYPES)
def test_every_field_has_a_meaning(tag: str) -> None:
    kind = MESSAGE_TYPES[tag]

    for one in (kind, *parts(kind)):
        assert [field.name for field in fields(one)] == list(one.__struct_fields__)
    assert f"\n## {tag}\n" in page()


def test_a_comment_beside_the_field_wins() -> None:
    assert fields(Quote)[5] == ("update_id", "int", "the venue's book sequence")


def test_no_meaning_is_of_a_field_that_no_message_has() -> None:
    kinds = [one for kind in MESSAGE_TYPES.values() for one in (kind, *parts(kind))]

    assert MEANINGS.keys() <= {name for kind in kinds for name in kind.__struct_fields__}


class Bare(msgspec.Struct):
    told: int  # in ms
    untold: int


def test_a_field_without_a_meaning_is_refused() -> None:
    with pytest.raises(LookupError, match=r"Bare\.untold has no meaning"):
        fields(Bare)
