"""The commands `risk explain|size|blend`: one verdict with every number that leads to it. Only looks."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from edgefleet.clock import iso
from edgefleet.errors import Misuse
from edgefleet.instruments import canonical_symbol
from edgefleet_services.cli.answers import AsJson, aligned, answer, refusals_of
from edgefleet_services.cli.risk_live import present_risk

if TYPE_CHECKING:
    from edgefleet.params.schema import FleetConfig
    from edgefleet.risk.ask import Asked
    from edgefleet.risk.explain import Explanation, Group, Number
    from edgefleet.risk.state import RiskState

NONE = "-"
STDIN = "-"
_LARGE = 10_000.0  # prices and amounts from here on are shown to the hundredth

AskedFile = Annotated[str, typer.Argument(metavar="FILE", help="JSON; - is standard input.")]
Conf = Annotated[Path, typer.Option("--conf", help="The configuration's directory.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("explain")(explain_verdict)
    app.command("size")(size)
    app.command("blend")(blend_edges)


def explain_verdict(
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL", help="BTC/USDT, or BTC/USDT@VENUE.")],
    venue: Annotated[str | None, typer.Option("--venue", help="Where several trade it.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="The fleet's; else the one that runs from here.")
    ] = None,
    redis_url: Annotated[str | None, typer.Option("--redis-url", help="Its Redis; else the running fleet's.")] = None,
    as_json: AsJson = False,
) -> int:
    """Tell what risk would decide on an instrument now, and every number between its inputs and the verdict.

    Of the fleet's own state, as of its last commit, also where the fleet has stopped.
    """
    from edgefleet.risk.explain import explain  # not with this module, which every service's process loads

    name, _, at = symbol.rpartition("@") if "@" in symbol else (symbol, "", venue or "")
    if venue is not None and at != venue:
        raise Misuse(f"{symbol} is at {at}, and --venue says {venue}")
    asked = canonical_symbol(name)
    present = present_risk(redis_url, data_dir)
    found = explain(present.state, _instrument(present.state, asked, at), present.config)
    as_of = iso(found.time) if found.time else None
    answer({"as_of": as_of, **_body(found)}, as_json, _lines(found, as_of))
    return 0


def size(file: AskedFile, conf: Conf = Path("conf"), as_json: AsJson = False) -> int:
    """Tell what risk would decide on edges, an account and a market of one's own, with every limit's head-room.

    FILE: {equity, peak, prices: {I: {bid, ask}}, positions: {I: units}, day_deviations: {I: s} or
    annual_volatilities: {I: s}, correlations: {I: {J: rho}}, edges: [{instrument, model, edge_bps, confidence,
    horizon_ms, age_ms, weight}], time: RFC 3339 where a market has hours}, I and J as BTC/USDT@sim, all of one account.
    What is missing is refused by its name. Instruments are decided in the order of the edges, each beside the targets
    before it.
    """
    from edgefleet.risk.ask import state_from

    asked, config = _asked(file), _configured(conf)
    with refusals_of(_where(file)):
        state = state_from(asked, config)
        found = [_decided(state, name, config) for name in _with_edges(state)]
    bodies = [_body(one) for one in found]
    answer({"explanations": bodies}, as_json, [line for one in found for line in _lines(one, None)])
    return 0


def blend_edges(file: AskedFile, conf: Conf = Path("conf"), as_json: AsJson = False) -> int:
    """Tell what several models' edges come to: FILE needs no more than the edges of `risk size`.

    Nothing is known of how alike the models are, so their evidence counts as one model's and there is no deviation.
    """
    from edgefleet.risk.ask import heard_from
    from edgefleet.risk.explain import explain

    asked, config = _asked(file), _configured(conf)
    with refusals_of(_where(file)):
        state = heard_from(asked, config)
        found = [explain(state, name, config) for name in _with_edges(state)]
    bodies = [{"instrument": one.instrument, "models": one.models, "blend": one.groups[0].numbers} for one in found]
    lines = [line for one in found for line in [one.instrument, *_models(one), *_group(one.groups[0])]]
    answer({"blends": msgspec.to_builtins(bodies)}, as_json, lines)
    return 0


def _decided(state: RiskState, name: str, config: FleetConfig) -> Explanation:
    """Explain one verdict and let its target stand, for the next is decided beside it."""
    from edgefleet.risk.explain import explain
    from edgefleet.risk.state import Standing
    from edgefleet.risk.verdict import No

    found = explain(state, name, config)
    if not isinstance(found.verdict, No):
        state.desks[name].standing = Standing(quantity=found.verdict.quantity, expires_at=state.time + 1)
    return found


def _with_edges(state: RiskState) -> list[str]:
    return [name for name, desk in state.desks.items() if desk.heard]


def _where(file: str) -> str:
    return "standard input" if file == STDIN else file


def _configured(conf: Path) -> FleetConfig:
    from edgefleet.params.files import load_fleet

    return load_fleet(conf)


def _asked(file: str) -> Asked:
    from edgefleet.risk.ask import Asked

    try:
        body = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
    except OSError as error:
        raise Misuse(f"{file} cannot be read: {error.strerror}") from error
    try:
        return msgspec.json.decode(body, type=Asked)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Misuse(f"{_where(file)}: {error}") from error


def _instrument(state: RiskState, symbol: str, venue: str) -> str:
    """Return the one instrument that is meant."""
    found = sorted(
        name for name in state.desks if name.rpartition("@")[0] == symbol and venue in ("", name.rpartition("@")[2])
    )
    if not found:
        seen = ", ".join(sorted(state.desks)) or "nothing yet"
        raise Misuse(f"risk has seen no {symbol}{'@' if venue else ''}{venue}; it has seen {seen}")
    if len(found) > 1:
        raise Misuse(f"{symbol} is traded at several venues, {', '.join(found)}; name one with --venue")
    return found[0]


def _body(found: Explanation) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.to_builtins(
        {
            "instrument": found.instrument,
            "models": found.models,
            "groups": found.groups,
            "limits": found.limits,
            "head_room": found.head_room,
        }
    )
    return {**body, "verdict": _verdict(found)}


def _verdict(found: Explanation) -> dict[str, Any]:
    from edgefleet.risk.verdict import No

    verdict = found.verdict
    if isinstance(verdict, No):
        return {"approved": False, **msgspec.to_builtins(verdict)}
    numbers = verdict.numbers()
    return {
        "approved": True,
        "quantity": str(verdict.quantity),
        "binding": verdict.binding,
        "urgency": verdict.urgency,
        "standing": verdict.standing,
        "kelly_fraction": numbers.kelly,
        "variance": numbers.variance,
        "var_fraction": numbers.var,
        "equity": numbers.equity,
    }


def _lines(found: Explanation, as_of: str | None) -> Iterator[str]:
    yield found.instrument if as_of is None else f"{found.instrument}, as of {as_of}"
    yield from _models(found)
    for group in found.groups:
        yield from _group(group)
    if found.limits:
        yield "limits"
        yield from _indented(_table(found.limits))
        yield f"  drawdown: head-room {_text(found.head_room['drawdown'])} of the cap"
    yield _verdict_line(found)


def _models(found: Explanation) -> Iterator[str]:
    if found.models:
        yield "models"
        yield from _indented(_table(found.models))


def _table(groups: Sequence[Group]) -> list[str]:
    """Return groups of like numbers as one table: a group is a row."""
    heads = ["", *(_head(number) for number in groups[0].numbers)]
    return aligned([heads, *([one.title, *(_text(number.value) for number in one.numbers)] for one in groups)])


def _head(number: Number) -> str:
    return f"{number.name} {number.unit}" if number.unit in ("bps", "ms") else number.name


def _group(group: Group) -> Iterator[str]:
    if not group.numbers:
        return
    yield group.title
    rows = [(one.name, _text(one.value), one.unit, one.formula) for one in group.numbers]
    names, values, units = (max(len(row[place]) for row in rows) for place in range(3))
    for name, value, unit, formula in rows:
        yield f"  {name:<{names}}  {value:>{values}}  {unit:<{units}}  {formula}".rstrip()


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _text(value: float | Decimal | str | None) -> str:
    if value is None or value == "":
        return NONE
    if isinstance(value, float):
        large = f"{value:.2f}".removesuffix(".00")
        return NONE if math.isnan(value) else large if abs(value) >= _LARGE else f"{value:.6g}"
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _verdict_line(found: Explanation) -> str:
    told = _verdict(found)
    if not told["approved"]:
        numbers = [f"{name} {_text(told[name])}" for name in ("limit", "observed") if told[name] is not None]
        return ", ".join(filter(None, [f"verdict: refused, {told['reason']}", *numbers, told["input"], told["detail"]]))
    base = found.instrument.partition("/")[0]
    what = "the target stands" if told["standing"] else "approved"
    return f"verdict: {what}, {told['quantity']} {base}, binding {told['binding']}, urgency {told['urgency']}"
