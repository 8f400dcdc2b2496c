"""The journal of intents: what is in it stays, what was torn is said, what was changed is refused."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefleet.errors import Broken, OutOfReach
from edgefleet.gateway.intents import IntentJournal, verify


async def written(path: Path, *bodies: bytes) -> None:
    journal, _, _ = IntentJournal.open(path)
    for body in bodies:
        await journal.append("intent", body, at=1)
    await journal.close()


async def test_lines_come_back_in_order_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    await written(path, b"1", b"2")
    await written(path, b"3")

    journal, lines, torn = IntentJournal.open(path)

    assert [bytes(line.body) for line in lines] == [b"1", b"2", b"3"]
    assert [line.n for line in lines] == [1, 2, 3]
    assert torn == b""
    await journal.close()


async def test_torn_last_line_is_cut_off_and_said(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    await written(path, b"1", b"2")
    path.write_bytes(path.read_bytes()[:-7])

    journal, lines, torn = IntentJournal.open(path)
    await journal.append("intent", b"3", at=1)
    await journal.close()

    assert [bytes(line.body) for line in lines] == [b"1"]
    assert torn
    assert [bytes(line.body) for line in verify(path.read_bytes(), "it")[0]] == [b"1", b"3"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_flipped_byte_before_the_last_line_is_found(data: st.DataObject) -> None:
    lines = _chain(4)
    whole = bytearray(b"".join(lines))
    at = data.draw(st.integers(0, len(whole) - len(lines[-1]) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))

    with pytest.raises(Broken, match="line"):
        verify(bytes(whole), "it")


def test_line_taken_out_of_the_middle_is_found() -> None:
    lines = _chain(4)

    with pytest.raises(Broken, match="does not fit the chain"):
        verify(lines[0] + lines[2], "it")


async def test_second_process_does_not_get_the_journal(tmp_path: Path) -> None:
    journal, _, _ = IntentJournal.open(tmp_path / "journal")

    with pytest.raises(OutOfReach, match="another executor's"):
        IntentJournal.open(tmp_path / "journal")

    await journal.close()


async def test_those_who_wait_together_share_a_write(tmp_path: Path) -> None:
    journal, _, _ = IntentJournal.open(tmp_path / "journal")

    await asyncio.gather(*(journal.append("intent", str(n).encode(), at=n) for n in range(100)))
    await journal.close()

    lines, _, _ = verify((tmp_path / "journal").read_bytes(), "it")
    assert [line.at for line in lines] == list(range(100))


async def test_full_disk_is_told_and_leaves_the_journal_as_it_was(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    journal, _, _ = IntentJournal.open(tmp_path / "journal")
    await journal.append("intent", b"1", at=1)
    full = os.open("/dev/full", os.O_WRONLY)
    kept = os.dup(journal._fd)
    os.dup2(full, journal._fd)

    with pytest.raises((OutOfReach, OSError)) as told:
        await journal.append("intent", b"2", at=2)
    failed = journal.failure
    os.dup2(kept, journal._fd)
    await journal.append("intent", b"3", at=3)
    await journal.close()
    os.close(full)
    os.close(kept)

    assert os.strerror(errno.ENOSPC) in str(told.value) or os.strerror(errno.EINVAL) in str(told.value)
    assert failed
    assert [bytes(line.body) for line in verify((tmp_path / "journal").read_bytes(), "it")[0]] == [b"1", b"3"]


async def test_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(OutOfReach, match="choose another --data-dir"):
        IntentJournal.open(tmp_path / "file" / "journal")


def _chain(count: int) -> list[bytes]:
    async def make(path: Path) -> None:
        await written(path, *(msgspec.json.encode({"n": n}) for n in range(count)))

    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        asyncio.run(make(path))
        return path.read_bytes().splitlines(keepends=True)
