"""The page of a check: one file that needs no network, its pictures drawn as SVG. No arithmetic beyond scaling."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from edgefleet.errors import Misuse
from edgefleet.instruments import split_id
from edgefleet.replay.check import InstrumentCheck
from edgefleet_services.data.check import Answer

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 960, 240, 70, 22
_BARS = 48
_COLUMNS = (
    ("frames", "frames"),
    ("trades", "trades"),
    ("volume", "volume"),
    ("vwap", "average price"),
    ("depth_applied", "deltas"),
    ("depth_stale", "stale"),
    ("gaps", "gaps"),
    ("crossed", "crossed"),
    ("tops_equal", "tops equal"),
    ("tops_compared", "of"),
    ("checksums_ok", "checksums right"),
    ("checksums_bad", "wrong"),
)


def write_page(path: Path, answer: Answer) -> None:
    """Write the page of `answer`.

    Raises
    ------
    Misuse
        If the file cannot be written.
    """
    body = answer.body
    rows = {**body["instruments"], "total": body["total"]}
    template = Template(files("edgefleet_services.data").joinpath("report.html").read_text())
    text = template.substitute(
        title=escape(f"Market data check: {body['venue']}"),
        lead=escape(f"{body['lines']} lines over {body['seconds']:.0f} s: {', '.join(body['files'])}"),
        verdict="Every book is exact." if answer.ok else "Not well: see gaps, crossed, checksums and notices.",
        verdict_class="good" if answer.ok else "bad",
        heads="".join(f"<th>{escape(title)}</th>" for title in ("instrument", *(title for _, title in _COLUMNS))),
        rows="\n".join(_row(name, row) for name, row in rows.items()),
        notices="".join(f"<p class='bad'>{escape(notice)}</p>" for notice in body["notices"]),
        pictures="\n".join(_pictures(name, one) for name, one in answer.check.instruments.items()),
    )
    try:
        path.write_text(text)
    except OSError as error:
        raise Misuse(f"{path}: cannot be written: {error.strerror or error}") from error


def _row(name: str, row: dict[str, object]) -> str:
    cells = "".join(f"<td>{escape('' if row[key] is None else str(row[key]))}</td>" for key, _ in _COLUMNS)
    return f"<tr><td>{escape(name)}</td>{cells}</tr>"


def _pictures(name: str, one: InstrumentCheck) -> str:
    drawn = [_prices(one), _lags(one.lags_ms)]
    return f"<h2>{escape(split_id(name)[0])}</h2>" + "".join(drawn) if any(drawn) else ""


def _prices(one: InstrumentCheck) -> str:
    stamps = [at for at, *_ in one.tops] + [at for at, _ in one.prints]
    values = [value for _, *pair in one.tops for value in pair] + [price for _, price in one.prints]
    if len(stamps) < 2:
        return ""
    first, last, low, high = min(stamps), max(stamps), min(values), max(values)

    def x(at: int) -> float:
        return _LEFT + (_WIDTH - _LEFT) * (at - first) / max(1, last - first)

    def y(value: float) -> float:
        return (_HEIGHT - _BOTTOM) * (1 - (value - low) / ((high - low) or 1.0))

    sides = "".join(
        f"<polyline class='{side}' points='{' '.join(f'{x(top[0]):.1f},{y(top[index]):.1f}' for top in one.tops)}'/>"
        for side, index in (("bid", 1), ("ask", 2))
        if len(one.tops) > 1
    )
    dots = "".join(f"<circle class='print' cx='{x(at):.1f}' cy='{y(price):.1f}' r='1.3'/>" for at, price in one.prints)
    labels = (
        f"<text x='0' y='12'>{high:g}</text><text x='0' y='{_HEIGHT - _BOTTOM}'>{low:g}</text>"
        f"<text x='{_LEFT}' y='{_HEIGHT - 6}'>0 s</text>"
        f"<text x='{_WIDTH}' y='{_HEIGHT - 6}' text-anchor='end'>{(last - first) / 1e9:.0f} s</text>"
    )
    caption = "best bid (green), best ask (red) and prints (dots), one of each a second, by the venue's stamps"
    return _figure(sides + dots + labels, caption)


def _lags(lags: Sequence[float]) -> str:
    if len(lags) < 2:
        return ""
    ordered = sorted(lags)
    low, high = ordered[len(ordered) // 200], ordered[-1 - len(ordered) // 200]  # half a percent off at both ends
    width = (high - low) / _BARS
    if not width > 0:
        return ""
    counts = [0] * _BARS
    for lag in ordered:
        if low <= lag <= high:
            counts[min(_BARS - 1, int((lag - low) / width))] += 1
    step, tallest = (_WIDTH - _LEFT) / _BARS, max(counts)
    bars = "".join(
        f"<rect class='bar' x='{_LEFT + i * step:.1f}' width='{step - 1:.1f}' "
        f"y='{(_HEIGHT - _BOTTOM) * (1 - count / tallest):.1f}' height='{(_HEIGHT - _BOTTOM) * count / tallest:.1f}'/>"
        for i, count in enumerate(counts)
    )
    labels = (
        f"<text x='0' y='12'>{tallest}</text><text x='{_LEFT}' y='{_HEIGHT - 6}'>{low:.1f} ms</text>"
        f"<text x='{_WIDTH}' y='{_HEIGHT - 6}' text-anchor='end'>{high:.1f} ms</text>"
    )
    return _figure(bars + labels, "receipt after the venue's stamp: negative where the recorder's clock is behind")


def _figure(inside: str, caption: str) -> str:
    axis = f"<line class='axis' x1='{_LEFT}' x2='{_WIDTH}' y1='{_HEIGHT - _BOTTOM}' y2='{_HEIGHT - _BOTTOM}'/>"
    return (
        f"<figure><svg viewBox='0 0 {_WIDTH} {_HEIGHT}' role='img'>{axis}{inside}</svg>"
        f"<figcaption>{caption}</figcaption></figure>"
    )
