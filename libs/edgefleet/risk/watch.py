"""What risk's breakers watch: takes facts as they come, and with each beat holds them against the limits.

Sends nothing: a transition is a message on `control`, and what it asks of the executor a command behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple

import msgspec

from edgefleet.book.sessions import Calendar
from edgefleet.messages import Fill, OrderEvent
from edgefleet.params.schema.breakers import BreakerParams, SwitchParams
from edgefleet.risk.breakers import Breaker, BreakerName, Move, breaker_of, observe, reset, scale
from edgefleet.risk.observers import DayLoss, Feed, LosingRun, Sample, VenueAnswers, fall, staleness


class Watch(msgspec.Struct, kw_only=True):
    """Every breaker and what it is held against, as plain values that survive msgpack."""

    breakers: dict[str, Breaker] = {}  # by name and scope
    days: dict[str, DayLoss] = {}  # by venue|quote, of all accounts by |quote
    answers: dict[str, VenueAnswers] = {}  # by venue
    run: LosingRun = msgspec.field(default_factory=LosingRun)
    holds_back: bool = False  # whether a breaker is OPEN or on probation: mostly there is nothing to look for
    flattening: str = ""  # why everything is being closed; empty where nothing is

    def scoped(self, venue: str, quote: str) -> Iterator[Breaker]:
        """Yield the breakers that hold an account's instruments back: its own, its venue's, and the fleet's."""
        scopes = ("", venue, f"{venue}|{quote}")
        return (breaker for breaker in self.breakers.values() if breaker.scope in scopes)

    def open(self, venue: str, quote: str) -> Breaker | None:
        """Return the first breaker that lets nothing be enlarged."""
        for breaker in self.scoped(venue, quote) if self.holds_back else ():
            if breaker.state == "OPEN" and breaker.action != "none":
                return breaker
        return None

    def scale(self, venue: str, quote: str, params: BreakerParams) -> float:
        """Return the share of their size that positions may have: 1, less on probation, 0 where one is open."""
        return scale(self.scoped(venue, quote), params.recovery.half_open_share) if self.holds_back else 1.0

    def take_order(self, venue: str, event: OrderEvent) -> None:
        """Take how a venue answers."""
        self.answers.setdefault(venue, VenueAnswers()).take(event)

    def take_fill(self, fill: Fill, lot: Decimal, fee_rate: Decimal | None, params: BreakerParams) -> None:
        """Take a fill that may close a position at a loss."""
        self.run.take(fill, lot, fee_rate, params.consecutive_losses)

    def rescale(self, key: str, factor: float) -> None:
        """Take money that came to or left the account `venue|quote`, as a factor on its equity: no loss of the day."""
        if key in self.days:
            self.days[key].rescale(factor)

    def move(self, key: str, to: str, factor: float) -> None:
        """Go on under another key with what was measured under one, in another asset."""
        day, there = self.days.pop(key, None), self.days.get(to)
        if day is None:
            return
        day.rescale(factor)
        if there is None or (there.opened == day.opened and (there.base or 0.0) < (day.base or 0.0)):
            self.days[to] = day

    def observe_venue(self, venue: str, feeds: Sequence[Feed], ts: int, params: BreakerParams) -> list[Move]:
        """Hold a venue's answers and the age of its feeds, and the fleet's losses, against their limits."""
        answers = self.answers.get(venue)
        stale = params.staleness
        found = [self._observe("staleness", venue, staleness(feeds, ts), stale.limit_s, ts, stale, params)]
        if answers is not None:
            latency, rejects = params.venue_latency, params.reject_rate
            limit_ms = latency.limit_of(venue)
            slow, refused = answers.latency(ts, latency, limit_ms), answers.rejected(ts, rejects)
            found += [
                self._observe("venue_latency", venue, slow, float(limit_ms), ts, latency, params),
                self._observe("reject_rate", venue, refused, rejects.limit, ts, rejects, params),
            ]
        losses = params.consecutive_losses
        lost = self.run.sample(ts, losses)
        found.append(self._observe("consecutive_losses", "", lost, float(losses.limit), ts, losses, params))
        return self._moved(found)

    def observe_silence(self, venue: str, feeds: Sequence[Feed], ts: int, params: BreakerParams) -> list[Move]:
        """Hold the age of the feeds of a venue that does not beat, while another does, against its limit."""
        stale = params.staleness
        return self._moved([self._observe("staleness", venue, staleness(feeds, ts), stale.limit_s, ts, stale, params)])

    def observe_account(self, key: str, money: Money, ts: int, params: BreakerParams) -> list[Move]:
        """Hold the losses and the risk of the account `venue|quote` against their limits.

        Without a venue it is all accounts together, and what opens holds the whole fleet back.
        """
        day = self.days.setdefault(key, DayLoss()).take(money.equity, ts, money.calendar)
        drawdown, scope = Sample(fall(money.peak, money.equity)), "" if key.startswith("|") else key
        found = [
            self._observe("drawdown", scope, drawdown, money.max_drawdown, ts, params.drawdown, params),
            self._observe("daily_loss", scope, day, params.daily_loss.limit, ts, params.daily_loss, params),
            self._observe("var", scope, money.var, params.var.limit, ts, params.var, params),
        ]
        return self._moved(found)

    def reset(self, ts: int, *, by: str, reason: str) -> list[Move]:
        """Let a person end what is open; what is measured from a moment is measured anew from here."""
        for day in self.days.values():
            day.forget()
        for answers in self.answers.values():
            answers.forget()
        self.run.forget()
        self.flattening = ""
        return self._moved([reset(breaker, ts, by=by, reason=reason) for breaker in self.breakers.values()])

    def _moved(self, found: Sequence[Move | None]) -> list[Move]:
        moves = [move for move in found if move is not None]
        if moves:
            self.holds_back = any(breaker.state in ("OPEN", "HALF_OPEN") for breaker in self.breakers.values())
        return moves

    def _observe(
        self,
        name: BreakerName,
        scope: str,
        sample: Sample,
        limit: float,
        ts: int,
        switch: SwitchParams,
        params: BreakerParams,
    ) -> Move | None:
        breaker = breaker_of(self.breakers, name, scope)
        return observe(breaker, sample.value, limit, ts, switch, params.recovery, enough=sample.enough)


class Money(NamedTuple):
    """What an account's breakers look at."""

    equity: float
    peak: float  # highest equity seen
    max_drawdown: float
    var: Sample
    calendar: Calendar
