"""How whoever writes files ends: in order by `close`, after an error by `abandon`. Knows no files."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class ClosesOrAbandons:
    """A context that closes at its end, and abandons what is not committed where an error ends it."""

    def close(self) -> None:
        """Commit what was taken, and end."""
        raise NotImplementedError

    def abandon(self) -> None:
        """End without what is not committed."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()
