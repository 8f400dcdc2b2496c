"""Write the session tables of `edgefleet.book.sessions` from exchange-calendars. `--check` writes nothing.

Run it once a year, after exchange-calendars knows the exchange's next holidays.
"""

from __future__ import annotations

import sys
from pathlib import Path

import exchange_calendars
import pandas
import typer

TARGET = Path(__file__).resolve().parent.parent / "libs" / "edgefleet" / "book" / "xnys.txt"
FIRST, LAST = "2000-01-01", "2027-12-31"
REGULAR = ("09:30", "16:00")


def table(first: str = FIRST, last: str = LAST) -> str:
    """Return the table of the New York Stock Exchange: what differs from weekdays at regular hours.

    Raises
    ------
    ValueError
        If a session opens at another hour than the regular one: the table has no word for it.
    """
    calendar = exchange_calendars.get_calendar("XNYS", start=first, end=last)
    hours = calendar.schedule[["open", "close"]].apply(lambda column: column.dt.tz_convert("America/New_York"))
    lines = [
        "# Sessions of the New York Stock Exchange, New York wall time. Made by scripts/calendars.py from",
        f"# exchange-calendars {exchange_calendars.__version__} (Apache-2.0); not changed by hand.",
        f"covers {first} {last}",
        f"regular {REGULAR[0]} {REGULAR[1]}",
    ]
    for day in pandas.bdate_range(first, last):
        if day not in hours.index:
            lines.append(f"closed {day:%Y-%m-%d}")
            continue
        opens, closes = (f"{hours.loc[day, name]:%H:%M}" for name in ("open", "close"))
        if opens != REGULAR[0]:
            raise ValueError(f"{day:%Y-%m-%d} opens at {opens}; teach the table such days first")
        if closes != REGULAR[1]:
            lines.append(f"early {day:%Y-%m-%d} {closes}")
    weekend = hours.index[hours.index.day_of_week >= 5]
    if len(weekend):
        raise ValueError(f"a session on a weekend, {weekend[0]:%Y-%m-%d}; teach the table such days first")
    return "\n".join(lines) + "\n"


def main(check: bool = typer.Option(False, "--check", help="write nothing; fail where the file differs")) -> None:
    """Write the table, or say whether it is what exchange-calendars says."""
    text = table()
    if not check:
        TARGET.write_text(text, encoding="utf-8")
    elif not TARGET.is_file() or TARGET.read_text(encoding="utf-8") != text:
        sys.exit(f"{TARGET.name} is not what exchange-calendars says; run python scripts/calendars.py")


if __name__ == "__main__":
    typer.run(main)
