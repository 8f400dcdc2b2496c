"""Write the dashboards as Grafana's JSON from typed panels. Knows the file format and our metrics, nothing of a server.

python grafana/generate.py            # writes grafana/dashboards/*.json
python grafana/generate.py --check    # exits 1 where a file differs from what would be written
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

DATASOURCE: Final = {"type": "prometheus", "uid": "edgefleet-prometheus"}
HERE: Final = Path(__file__).parent / "dashboards"
COLUMNS: Final = 24  # the width of Grafana's grid

Kind = Literal["stat", "timeseries", "bargauge", "table", "alertlist", "state-timeline"]
# Grafana's own unit ids; "bps" there means bits per second, so basis points are a plain suffix.
BPS: Final = "suffix: bps"
USD: Final = "currencyUSD"
PERCENT: Final = "percent"
SECONDS: Final = "s"
COUNT: Final = "short"


def quantile(share: float, histogram: str, *by: str, window: str = "1m") -> str:
    """Return the expression for a quantile of a histogram's last `window`, one series per combination of `by`."""
    labels = ", ".join((*by, "le"))
    return f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}_bucket[{window}])))"


@dataclass(frozen=True)
class Query:
    """One PromQL expression and the legend of its series."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel. `steps` are (lowest value, colour), the first without a lowest value."""

    title: str
    kind: Kind
    queries: Sequence[Query] = ()
    unit: str = COUNT
    width: int = 4
    height: int = 4
    steps: Sequence[tuple[float | None, str]] = ((None, "green"),)
    mappings: dict[str, tuple[str, str]] = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True)
class Row:
    """A titled row of panels, filled from the left and wrapped at the grid's width."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Dashboard:
    """A dashboard under a fixed uid, so `/d/<uid>/` is a name people can keep."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]


TRADING_STATE: Final = {"0": ("ACTIVE", "green"), "1": ("REDUCING", "orange"), "2": ("HALTED", "red")}
BREAKER_STATE: Final = {
    "0": ("CLOSED", "green"),
    "1": ("HALF_OPEN", "orange"),
    "2": ("OPEN", "red"),
    "3": ("DISABLED", "purple"),
}
BASEL_ZONE: Final = {"0": ("green", "green"), "1": ("yellow", "yellow"), "2": ("red", "red")}
PER_SYMBOL: Final = '{symbol=~"$symbol"}'

EDGE_RISK: Final = Dashboard(
    uid="edge-risk",
    title="Edge and risk",
    description="What the fleet sees, risks and does: edges, positions, value at risk, P&L, switches, alerts.",
    rows=(
        Row(
            "Quick Stats",
            (
                Panel("Trading state", "stat", [Query("max(trading_state)")], mappings=TRADING_STATE),
                Panel("Equity", "stat", [Query("max(equity_usd)")], USD),
                Panel(
                    "Value at risk, 95 % one day",
                    "stat",
                    [Query("max(var_pct)")],
                    PERCENT,
                    steps=((None, "green"), (1.5, "yellow"), (1.8, "orange"), (2.0, "red")),
                    description="Sizing aims at 1.5 %, verdicts refuse at 2.0 %, the breaker opens at 2.5 %.",
                ),
                Panel(
                    "Drawdown",
                    "stat",
                    [Query("max(drawdown_pct)")],
                    PERCENT,
                    steps=((None, "green"), (3, "orange"), (5, "red")),
                    description="From the highest equity, with open profit and loss.",
                ),
                Panel(
                    "Realised P&L", "stat", [Query("max(pnl_realized_usd)")], USD, steps=((None, "red"), (0, "green"))
                ),
                Panel("Open P&L", "stat", [Query("max(pnl_unrealized_usd)")], USD, steps=((None, "red"), (0, "green"))),
                Panel("Edge now", "bargauge", [Query(f"edge_blended_bps{PER_SYMBOL}", "{{symbol}}")], BPS, width=8),
                Panel(
                    "Position now", "bargauge", [Query(f"position_size_usd{PER_SYMBOL}", "{{symbol}}")], USD, width=8
                ),
                Panel(
                    "Tick to order, median and 99 %",
                    "stat",
                    [
                        Query(
                            quantile(0.5, "edgefleet_tick_to_order_seconds", window="5m"),
                            "median",
                        ),
                        Query(
                            quantile(0.99, "edgefleet_tick_to_order_seconds", window="5m"),
                            "99 %",
                        ),
                    ],
                    SECONDS,
                    width=8,
                ),
            ),
        ),
        Row(
            "Time Series",
            (
                Panel("Blended edge", "timeseries", [Query(f"edge_blended_bps{PER_SYMBOL}", "{{symbol}}")], BPS, 12, 8),
                Panel("Position", "timeseries", [Query(f"position_size_usd{PER_SYMBOL}", "{{symbol}}")], USD, 12, 8),
                Panel("Value at risk", "timeseries", [Query(f"var_pct{PER_SYMBOL}", "{{symbol}}")], PERCENT, 12, 8),
                Panel("Equity", "timeseries", [Query("max(equity_usd)", "equity")], USD, 12, 8),
                Panel(
                    "Profit and loss",
                    "timeseries",
                    [Query("max(pnl_realized_usd)", "realised"), Query("max(pnl_unrealized_usd)", "open")],
                    USD,
                    12,
                    8,
                ),
                Panel(
                    "Circuit breakers",
                    "state-timeline",
                    [Query("max by (breaker, scope) (risk_breaker_state)", "{{breaker}} {{scope}}")],
                    width=12,
                    height=8,
                    mappings=BREAKER_STATE,
                    description="Each breaker by its last move; without one there is no line, and it is closed.",
                ),
                Panel(
                    "Head-room of each limit",
                    "timeseries",
                    [Query("min by (limit) (risk_head_room_ratio)", "{{limit}}")],
                    "percentunit",
                    12,
                    8,
                    description="What the last approved targets leave of each limit, the least of all instruments.",
                ),
                Panel(
                    "Back-test of value at risk: rate of exceptions",
                    "timeseries",
                    [
                        Query(
                            f"risk_backtest_exceptions{PER_SYMBOL} / risk_backtest_observations{PER_SYMBOL}",
                            "{{symbol}} {{method}}",
                        )
                    ],
                    "percentunit",
                    12,
                    8,
                    description="Of the periods that each night judged, by conf/features.yml, backtest. At a level of "
                    "0.95 one in twenty is promised.",
                ),
                Panel(
                    "Back-test of value at risk: p",
                    "timeseries",
                    [
                        Query(
                            'min by (symbol, method, test) (risk_backtest_p_value{symbol=~"$symbol", test!="both"})',
                            "{{symbol}} {{method}} {{test}}",
                        )
                    ],
                    width=12,
                    height=8,
                    description="Kupiec's coverage and Christoffersen's independence: below 0.05 a test rejects, below "
                    "0.01 of coverage an alert fires.",
                ),
                Panel(
                    "Back-test of value at risk: Basel zone",
                    "state-timeline",
                    [Query(f"risk_backtest_zone{PER_SYMBOL}", "{{symbol}} {{method}}")],
                    width=12,
                    height=8,
                    mappings=BASEL_ZONE,
                    description="Without a line there was no back-test: too few bars, or a demo.",
                ),
                Panel(
                    "Back-test of expected shortfall: Z2",
                    "timeseries",
                    [Query(f"risk_backtest_shortfall_z2{PER_SYMBOL}", "{{symbol}} {{method}}")],
                    width=12,
                    height=8,
                    description="Acerbi and Szekely: 0 as promised, negative where losses are larger or more frequent.",
                ),
                Panel(
                    "Loss in a stress scenario",
                    "timeseries",
                    [Query("max by (scenario) (risk_stress_loss_ratio)", "{{scenario}}")],
                    "percentunit",
                    12,
                    8,
                    description="Share of equity that the positions of now would lose, by scenario of conf/stress.yml.",
                ),
                Panel(
                    "Model confidence",
                    "timeseries",
                    [Query(f"model_confidence{PER_SYMBOL}", "{{symbol}} {{model}}")],
                    "percentunit",
                    12,
                    8,
                ),
                Panel(
                    "Messages a second",
                    "timeseries",
                    [Query("sum by (service) (rate(edgefleet_messages_total[1m]))", "{{service}}")],
                    "cps",
                    12,
                    8,
                ),
                Panel(
                    "Step, 99 %",
                    "timeseries",
                    [
                        Query(
                            quantile(0.99, "edgefleet_step_duration_seconds", "service"),
                            "{{service}}",
                        )
                    ],
                    SECONDS,
                    12,
                    8,
                ),
                Panel(
                    "Stream lag, entries",
                    "timeseries",
                    [Query("max by (service, stream) (edgefleet_stream_lag)", "{{service}} {{stream}}")],
                    COUNT,
                    12,
                    8,
                ),
                Panel(
                    "Arbitrage between venues, net of fees",
                    "timeseries",
                    [Query('edgefleet_arbitrage_net_bps{symbol=~"$symbol"}', "{{symbol}} {{buy_at}} to {{sell_at}}")],
                    BPS,
                    12,
                    8,
                ),
                Panel(
                    "Age of market data",
                    "timeseries",
                    [Query('edgefleet_data_age_seconds{symbol=~"$symbol"}', "{{venue}} {{symbol}}")],
                    SECONDS,
                    12,
                    8,
                ),
            ),
        ),
        Row(
            "Switch Log",
            (
                Panel(
                    "Model switches in five minutes",
                    "timeseries",
                    [Query(f"sum by (symbol) (increase(model_switch_total{PER_SYMBOL}[5m]))", "{{symbol}}")],
                    COUNT,
                    12,
                    8,
                    steps=((None, "green"), (15, "orange"), (20, "red")),
                    description="Normal is below 15, above 20 alerts. Each switch: XREVRANGE model.switch.log + -.",
                ),
                Panel(
                    "Switches since the start",
                    "table",
                    [Query(f"sum by (symbol) (model_switch_total{PER_SYMBOL})")],
                    COUNT,
                    6,
                    8,
                ),
                Panel(
                    "Configuration in force",
                    "table",
                    [Query("max by (component, service) (edgefleet_param_version)")],
                    COUNT,
                    6,
                    8,
                ),
            ),
        ),
        Row(
            "Alert Summary",
            (
                Panel("Alerts", "alertlist", width=8, height=8),
                Panel(
                    "Refusals a minute",
                    "timeseries",
                    [Query("sum by (reason) (rate(edgefleet_refusals_total[1m])) * 60", "{{reason}}")],
                    COUNT,
                    8,
                    8,
                ),
                Panel(
                    "Orders a minute",
                    "timeseries",
                    [Query("sum by (venue, state) (rate(edgefleet_orders_total[1m])) * 60", "{{venue}} {{state}}")],
                    COUNT,
                    8,
                    8,
                ),
                Panel(
                    "Breaker moves in the last hour",
                    "table",
                    [Query("sum by (breaker, after) (increase(risk_breaker_moves_total[1h]))")],
                    width=24,
                    height=6,
                ),
                Panel(
                    "Dead letters",
                    "stat",
                    [Query("sum by (service) (edgefleet_dead_letters_total)", "{{service}}")],
                    width=12,
                    steps=((None, "green"), (1, "red")),
                ),
                Panel(
                    "Refused configurations",
                    "stat",
                    [Query("sum by (component) (edgefleet_param_rejects_total)", "{{component}}")],
                    width=12,
                    steps=((None, "green"), (1, "orange")),
                ),
            ),
        ),
    ),
)

DASHBOARDS: Final = (EDGE_RISK,)


def _targets(panel: Panel) -> list[dict[str, Any]]:
    instant = panel.kind in {"table", "bargauge", "stat"}
    return [
        {
            "datasource": DATASOURCE,
            "expr": query.expr,
            "legendFormat": query.legend or "__auto",
            "refId": chr(ord("A") + place),
            "instant": instant,
            "range": not instant,
            **({"format": "table"} if panel.kind == "table" else {}),
        }
        for place, query in enumerate(panel.queries)
    ]


def _options(kind: Kind) -> dict[str, Any]:
    match kind:
        case "stat":
            return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
        case "bargauge":
            return {"reduceOptions": {"calcs": ["lastNotNull"]}, "displayMode": "basic", "orientation": "horizontal"}
        case "timeseries":
            return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
        case "alertlist":
            return {
                "viewMode": "list",
                "groupMode": "default",
                "maxItems": 20,
                "sortOrder": 3,
                "datasource": "Prometheus",
                "stateFilter": {"firing": True, "pending": True, "noData": False, "normal": False, "error": True},
            }
        case _:
            return {}


def _panel(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    shown = {
        value: {"text": text, "color": color, "index": place}
        for place, (value, (text, color)) in enumerate(panel.mappings.items())
    }
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": {"h": panel.height, "w": panel.width, "x": x, "y": y},
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "mappings": [{"type": "value", "options": shown}] if shown else [],
                "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
                "thresholds": {
                    "mode": "absolute",
                    "steps": [{"color": color, "value": value} for value, color in panel.steps],
                },
            },
            "overrides": [],
        },
        "options": _options(panel.kind),
        "targets": _targets(panel),
    }


def _panels(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    number, y = 1, 0
    for row in rows:
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y},
        }
        number, y, x, line = number + 1, y + 1, 0, 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y, line = 0, y + line, 0
            yield _panel(panel, number, x, y)
            number, x, line = number + 1, x + panel.width, max(line, panel.height)
        y += line


def rendered(dashboard: Dashboard) -> str:
    """Return the dashboard as the text of its JSON file."""
    body = {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["edgefleet"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "5s",
        "timezone": "utc",
        "time": {"from": "now-15m", "to": "now"},
        "templating": {
            "list": [
                {
                    "name": "symbol",
                    "label": "Symbol",
                    "type": "query",
                    "datasource": DATASOURCE,
                    "query": {"query": "label_values(edge_blended_bps, symbol)", "refId": "symbol"},
                    "definition": "label_values(edge_blended_bps, symbol)",
                    "multi": True,
                    "includeAll": True,
                    "current": {"text": ["All"], "value": ["$__all"]},
                    "refresh": 2,
                    "sort": 1,
                }
            ]
        },
        "annotations": {"list": []},
        "links": [],
        "panels": list(_panels(dashboard.rows)),
    }
    return json.dumps(body, indent=2) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write every dashboard, or with `--check` return 1 where a file is not what would be written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 on a difference")
    check = parser.parse_args(arguments).check
    stale = [
        d
        for d in DASHBOARDS
        if not (HERE / f"{d.uid}.json").is_file() or (HERE / f"{d.uid}.json").read_text() != rendered(d)
    ]
    if check:
        for dashboard in stale:
            sys.stderr.write(f"{dashboard.uid}.json is not what grafana/generate.py writes: run it\n")
        return 1 if stale else 0
    HERE.mkdir(exist_ok=True)
    for dashboard in DASHBOARDS:
        (HERE / f"{dashboard.uid}.json").write_text(rendered(dashboard))
    return 0


if __name__ == "__main__":
    sys.exit(main())
