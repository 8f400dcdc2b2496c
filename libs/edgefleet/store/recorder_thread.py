"""A recorder in a thread of its own, so that a feed's loop never waits for the disk. Knows no message."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from edgefleet.errors import OutOfReach
from edgefleet.stage import Output
from edgefleet.store.recorder import Recorder

_WAIT_S = 0.1  # a commit that is due by time is made so much later at most
_AT_ONCE = 500


class RecorderThread:
    """Takes what `Recorder` takes, from one other thread, and returns at once. What the recorder raises comes out here.

    Parameters
    ----------
    make
        Makes the recorder, in the thread that will use it.
    most_waiting
        How many calls may wait for the disk before `take` says that it does not keep up.
    """

    def __init__(self, make: Callable[[], Recorder], *, most_waiting: int = 50_000) -> None:
        self._make = make
        self._most_waiting = most_waiting
        self._calls: queue.SimpleQueue[Callable[[Recorder], None] | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._made = threading.Event()
        self._recorder: Recorder | None = None
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()
        self._made.wait()
        self._tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def recorder(self) -> Recorder:
        """Return the recorder, to look at its counts."""
        assert self._recorder is not None  # `__init__` raised where it was not made
        return self._recorder

    @property
    def waiting(self) -> int:
        """Return how many calls wait."""
        return self._calls.qsize()

    def take(self, outputs: Iterable[Output], position: str | None = None) -> None:
        """Hand over what a feed made.

        Raises
        ------
        OutOfReach
            If the disk takes no more, or not as fast as things come.
        """
        made = list(outputs)
        self._put(lambda recorder: recorder.take(made, position))

    def take_frame(self, stamp_ns: int, body: bytes, stream: str | None = None, *, url: str = "") -> None:
        """Hand over a raw frame. Raises as `take`."""
        self._put(lambda recorder: recorder.take_frame(stamp_ns, body, stream, url=url))

    def close(self) -> None:
        """Commit all that was handed over and end; raise what went wrong, if anything did."""
        self._calls.put(None)
        self._thread.join()
        self._tell()

    def _put(self, call: Callable[[Recorder], None]) -> None:
        self._tell()
        if self.waiting >= self._most_waiting:
            raise OutOfReach(f"the disk does not keep up: {self.waiting} batches wait to be recorded")
        self._calls.put(call)

    def _tell(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._recorder = self._make()
            self._made.set()
            with self._recorder as recorder:
                while self._serve(recorder):
                    recorder.turn()
        except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that feeds this one
            self._error = error
        finally:
            self._made.set()

    def _serve(self, recorder: Recorder) -> bool:
        """Make calls that wait, not so many that a commit is late; return whether there will be more."""
        try:
            for _ in range(_AT_ONCE):
                call = self._calls.get(timeout=_WAIT_S)
                if call is None:
                    return False
                call(recorder)
        except queue.Empty:
            pass
        return True
