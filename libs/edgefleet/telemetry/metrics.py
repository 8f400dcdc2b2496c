"""Every metric of the fleet, declared once: name, help, labels, unit in the name. Knows nothing of who sets it.

A metric is registered when it is first touched, so a service exports what it sets and nothing it would have to invent.
"""

from __future__ import annotations

from functools import cached_property

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

# A `_created` series per counter doubles the page, and nothing draws it.
disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client leaves it without types

TRADING_STATE_VALUES = {"ACTIVE": 0.0, "REDUCING": 1.0, "HALTED": 2.0}
BREAKER_STATE_VALUES = {"CLOSED": 0.0, "HALF_OPEN": 1.0, "OPEN": 2.0, "DISABLED": 3.0}

_STEP_BUCKETS_S = (
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0,
)  # fmt: skip
_LATENCY_BUCKETS_S = (
    0.000_5, 0.001, 0.001_5, 0.002, 0.003, 0.004, 0.006, 0.008, 0.012, 0.016, 0.025, 0.05, 0.1, 0.5, 1.0, 2.5, 10.0,
)  # fmt: skip


class Metrics:
    """The metrics of one process, in a registry of its own."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, text, labels, registry=self.registry, buckets=buckets)

    # Trading: names that dashboards outside this repository may use, hence without a prefix.

    @cached_property
    def edge_blended_bps(self) -> Gauge:
        return self._gauge(
            "edge_blended_bps", "Blended expected return of the latest decision, in basis points.", "symbol"
        )

    @cached_property
    def position_size_usd(self) -> Gauge:
        return self._gauge(
            "position_size_usd", "Signed position at the last price, in the account's currency.", "symbol"
        )

    @cached_property
    def var_pct(self) -> Gauge:
        return self._gauge("var_pct", "One-day 95 % value at risk of the position, in percent of equity.", "symbol")

    @cached_property
    def model_confidence(self) -> Gauge:
        return self._gauge("model_confidence", "Latest confidence a model gave, 0 to 1.", "symbol", "model")

    @cached_property
    def model_switch_total(self) -> Counter:
        return self._counter("model_switch_total", "Times the router chose another model.", "symbol")

    @cached_property
    def equity_usd(self) -> Gauge:
        return self._gauge(
            "equity_usd",
            "Cash and positions at the last price, in the account's currency; of several in fleet_limits.quote.",
        )

    @cached_property
    def drawdown_pct(self) -> Gauge:
        return self._gauge("drawdown_pct", "Fall of equity from its highest value, in percent.")

    @cached_property
    def pnl_realized_usd(self) -> Gauge:
        return self._gauge("pnl_realized_usd", "Realised profit and loss since the books began, after fees.")

    @cached_property
    def pnl_unrealized_usd(self) -> Gauge:
        return self._gauge("pnl_unrealized_usd", "Unrealised profit and loss at the last price.")

    @cached_property
    def stress_loss(self) -> Gauge:
        return self._gauge(
            "risk_stress_loss_ratio",
            "Share of equity that the positions would lose in a scenario, the largest of all accounts.",
            "scenario",
        )

    @cached_property
    def backtest_exceptions(self) -> Gauge:
        return self._gauge(
            "risk_backtest_exceptions",
            "Losses beyond the value at risk among the periods that the last night judged.",
            "symbol",
            "method",
        )

    @cached_property
    def backtest_observations(self) -> Gauge:
        return self._gauge(
            "risk_backtest_observations", "Periods that the last night's back-test judged.", "symbol", "method"
        )

    @cached_property
    def backtest_p_value(self) -> Gauge:
        return self._gauge(
            "risk_backtest_p_value",
            "Probability of exceptions so far from promised where value at risk holds: coverage, independence, both.",
            "symbol",
            "method",
            "test",
        )

    @cached_property
    def backtest_zone(self) -> Gauge:
        return self._gauge(
            "risk_backtest_zone", "Basel zone of the last night: 0 green, 1 yellow, 2 red.", "symbol", "method"
        )

    @cached_property
    def backtest_z2(self) -> Gauge:
        return self._gauge(
            "risk_backtest_shortfall_z2",
            "Z2 of Acerbi and Szekely: 0 as promised, negative where losses are larger or more frequent.",
            "symbol",
            "method",
        )

    @cached_property
    def backtest_failed(self) -> Gauge:
        return self._gauge(
            "risk_backtest_failed", "1 where the last night's back-test came to no end; too few bars is 0.", "symbol"
        )

    @cached_property
    def breaker_state(self) -> Gauge:
        return self._gauge(
            "risk_breaker_state",
            "A circuit breaker by its last move: 0 closed, 1 half-open, 2 open, 3 disabled.",
            "breaker",
            "scope",
        )

    @cached_property
    def breaker_moves(self) -> Counter:
        return self._counter(
            "risk_breaker_moves_total",
            "Transitions of circuit breakers, by the state that was reached.",
            "breaker",
            "after",
        )

    @cached_property
    def head_room(self) -> Gauge:
        return self._gauge(
            "risk_head_room_ratio",
            "What the instruments' last approved targets leave of a limit, as a share of it, the least of all.",
            "limit",
        )

    @cached_property
    def trading_state(self) -> Gauge:
        return self._gauge("trading_state", "The latch: 0 ACTIVE, 1 REDUCING, 2 HALTED.")

    # Machinery.

    @cached_property
    def archive_lag(self) -> Gauge:
        return self._gauge(
            "edgefleet_archive_lag_seconds", "Age of the newest entry that the archiver has read; 0 when it read all."
        )

    @cached_property
    def features_lag(self) -> Gauge:
        return self._gauge(
            "edgefleet_features_lag_seconds", "Age of the newest market entry that is kept; 0 when all were."
        )

    @cached_property
    def features_kept(self) -> Counter:
        return self._counter("edgefleet_features_kept_total", "Rows made of the market, by what they are.", "what")

    @cached_property
    def features_refused(self) -> Counter:
        return self._counter(
            "edgefleet_features_refused_total", "What of the market is in no row or no bar, by reason.", "reason"
        )

    @cached_property
    def data_age(self) -> Gauge:
        return self._gauge(
            "edgefleet_data_age_seconds", "Age of the last touch by the beat that told it.", "venue", "symbol"
        )

    @cached_property
    def feed_events(self) -> Counter:
        return self._counter(
            "edgefleet_feed_events_total", "What went wrong with a venue's frames, by kind.", "venue", "event"
        )

    @cached_property
    def arbitrage(self) -> Gauge:
        return self._gauge(
            "edgefleet_arbitrage_net_bps",
            "What buying at one venue and selling at another brings at the tops, after both fees; else 0.",
            "symbol",
            "buy_at",
            "sell_at",
        )

    @cached_property
    def clock_offset(self) -> Gauge:
        return self._gauge("edgefleet_clock_offset_seconds", "A venue's clock minus ours, by its own word.", "venue")

    @cached_property
    def dead_letters(self) -> Counter:
        return self._counter(
            "edgefleet_dead_letters_total", "Entries kept aside because no retry can process them.", "service"
        )

    @cached_property
    def messages(self) -> Counter:
        return self._counter(
            "edgefleet_messages_total", "Entries a service consumed, by message tag.", "service", "type"
        )

    @cached_property
    def orders(self) -> Counter:
        return self._counter(
            "edgefleet_orders_total", "Order transitions, by the state that was reached.", "venue", "state"
        )

    @cached_property
    def param_rejects(self) -> Counter:
        return self._counter(
            "edgefleet_param_rejects_total", "Configurations refused; the old one stayed.", "component"
        )

    @cached_property
    def param_version(self) -> Gauge:
        return self._gauge(
            "edgefleet_param_version", "Version of a component that a service has applied.", "component", "service"
        )

    @cached_property
    def refusals(self) -> Counter:
        return self._counter("edgefleet_refusals_total", "Decisions and orders refused, by reason.", "reason")

    @cached_property
    def step_duration(self) -> Histogram:
        return self._histogram(
            "edgefleet_step_duration_seconds",
            "Time in one step, without reading and committing.",
            _STEP_BUCKETS_S,
            "service",
        )

    @cached_property
    def stream_lag(self) -> Gauge:
        return self._gauge(
            "edgefleet_stream_lag", "Entries added that a service has not committed.", "service", "stream"
        )

    @cached_property
    def tick_to_order(self) -> Histogram:
        return self._histogram(
            "edgefleet_tick_to_order_seconds",
            "From the receipt of a frame to its order on the wire.",
            _LATENCY_BUCKETS_S,
        )


def declared() -> tuple[str, ...]:
    """Return the names of the attributes of `Metrics` that are metrics, in the order they are declared."""
    return tuple(name for name, value in vars(Metrics).items() if isinstance(value, cached_property))


def declared_names() -> tuple[str, ...]:
    """Return the name of every metric as Prometheus sees it, such as ``edgefleet_orders_total``."""
    metrics = Metrics()
    for attribute in declared():
        getattr(metrics, attribute)
    return tuple(family.name + ("_total" if family.type == "counter" else "") for family in metrics.registry.collect())
