"""What must hold between components, checked before a configuration is written. Pure; readers take what was written."""

from __future__ import annotations

from collections.abc import Iterator

from edgefleet.params.schema import FleetConfig

Contradiction = tuple[tuple[str | int, ...], str]


def contradictions(config: FleetConfig) -> list[Contradiction]:
    """Return (path, reason) of everything that does not go together, the path beginning with a component."""
    return [*_unknown_models(config), *_long_windows(config), *_unknown_feeds(config), *_bars_that_are_not_kept(config)]


def _unknown_models(config: FleetConfig) -> Iterator[Contradiction]:
    known = config.models.models
    listed = ", ".join(sorted(known)) or "none"
    router = config.model_router
    for place, rule in enumerate(router.rules):
        for model in rule.chosen:
            if model not in known:
                yield ("model_router", "rules", place), f"names model {model!r}; models.yml has {listed}"
    if router.default_model is not None and router.default_model not in known:
        yield ("model_router", "default_model"), f"names model {router.default_model!r}; models.yml has {listed}"


def _long_windows(config: FleetConfig) -> Iterator[Contradiction]:
    """A thawed process's request must be refused by the venue before another process owns the account."""
    half = config.fleet.take_over_ms // 2
    for name, venue in config.venues.venues.items():
        # Alpaca has no such window: what is sent late is carried out.
        if venue.dialect == "binance" and not venue.recv_window_ms < half:
            reason = f"must be below half of fleet's take_over_ms, {half}, was {venue.recv_window_ms}"
            yield ("venues", "venues", name, "recv_window_ms"), reason


def _unknown_feeds(config: FleetConfig) -> Iterator[Contradiction]:
    known = config.venues.venues
    for name in config.fleet.feeds:
        if name not in known:
            reason = f"names venue {name!r}; conf/venues has {', '.join(sorted(known)) or 'none'}"
            yield ("fleet", "feeds", name), reason


def _bars_that_are_not_kept(config: FleetConfig) -> Iterator[Contradiction]:
    """A back-test of bars that nobody keeps would say each night that there are too few."""
    wanted, kept = config.features.backtest, config.features.keep.bars
    if wanted.run != "never" and wanted.interval not in kept:
        listed = ", ".join(kept) or "none"
        yield (
            ("features", "backtest", "interval"),
            f"is {wanted.interval}, and keep.bars has {listed}; keep it, or set run: never",
        )
