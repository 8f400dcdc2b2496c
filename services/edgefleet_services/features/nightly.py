"""The nightly back-test as the service sees it: a process of its own once a night, and what is told of it.

Holds nothing up: the arrays and fits are the process's, which is niced to the last, has a limit of time, and whose
death is told and is no failure of the service's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import msgspec

from edgefleet.book.grid import WIDTHS_MS
from edgefleet.errors import FleetError, Misuse
from edgefleet.instruments import AssetClass, split_id
from edgefleet.messages import Alert, NightlyVar
from edgefleet.params.schema import BacktestParams, FleetConfig
from edgefleet.risk.var import deviation_behind
from edgefleet_services.bootstrap import ServiceContext
from edgefleet_services.features.nights import FOLDER, Asked, Nights, SymbolNight, Tested, begin_of, night_of

NAME = "features"
COMMAND = (sys.executable, "-m", "edgefleet_services.data.nightly")
MOST_WORDS = 2_000  # of what a process that failed said last
_ZONES = {"green": 0.0, "yellow": 1.0, "red": 2.0}
# One processor is enough for what nobody waits for; the arithmetic libraries would take them all.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Nightly:
    """Ask `due` again and again; `start` what is due; `close` ends what runs, and the next start does it again."""

    def __init__(self, context: ServiceContext, market: Path, command: Sequence[str] = COMMAND) -> None:
        self._context, self._market, self._command = context, market, command
        self._nights = Nights(market / FOLDER)
        self._done = self._nights.newest  # or tried by this process
        self._task: asyncio.Task[None] | None = None
        self._is_shown = False
        self._untold: tuple[date, Sequence[SymbolNight]] | None = None  # risk does not know of it yet
        # A demo's days are nobody's and a tape's are not the machine's: theirs pass as their market does.
        self._is_real = context.options.mode != "demo" and not context.options.from_tape
        if self._done is not None and self._is_wanted:
            self._show_again(self._done)

    @property
    def _settings(self) -> BacktestParams:
        return self._context.configs.current.features.backtest

    @property
    def _is_wanted(self) -> bool:
        return self._settings.run == "always" or (self._settings.run == "auto" and self._is_real)

    @property
    def is_running(self) -> bool:
        """Return whether a night is being judged."""
        return self._task is not None and not self._task.done()

    def due(self, market_ns: int, *, caught_up: bool) -> date | None:
        """Return the night that is to be judged now, None where none is.

        Parameters
        ----------
        market_ns
            The market's time, 0 before its first beat: the time of a demo and of a tape.
        caught_up
            Whether all of the market is kept; a real market's night waits for that.
        """
        if not self._is_wanted:
            self._hide()
            return None
        if self.is_running:
            return None
        now = self._context.clock.wall_ns() if self._is_real else market_ns
        if not now or (self._is_real and not caught_up):
            return None
        night = night_of(now, self._settings.at)
        return night if self._done is None or night > self._done else None

    def start(self, night: date) -> None:
        """Judge a night, beside everything else. The bars up to it are on the disk."""
        self._done = night
        self._context.log.info("backtest_begins", night=str(night))
        self._task = asyncio.create_task(self._judge(night))

    async def close(self) -> None:
        """End what runs; nothing is written of it."""
        if self._task is not None:
            if self.is_running:
                self._context.log.info("backtest_interrupted", night=str(self._done))
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _judge(self, night: date) -> None:
        config = self._context.configs.current
        settings = config.features.backtest
        asked = Asked(
            market=str(self._market),
            instruments=_classes(config, self._context),
            until_ns=begin_of(night, settings.at),
            settings=settings.model_dump_json(),
        )
        try:
            answers, why = await self._answers(asked, settings.time_limit_s)
            answered = {one.instrument for one in answers}
            silent = [_unanswered(name, asked, settings, why) for name in asked.instruments if name not in answered]
            found = [*answers, *silent]
            await asyncio.to_thread(self._nights.write, night, found, settings.keep_days)
            self._show(found)
            self._log(night, found)
            for alert in self._alerts(night, found):
                await self._context.bus.append("alerts", alert)
            self._untold = night, found
        except (FleetError, OSError) as error:
            self._context.log.warning("backtest_untold", night=str(night), error=str(error))
        await self.tell()

    async def _answers(self, asked: Asked, limit_s: float) -> tuple[list[SymbolNight], str]:
        """Return the lines that the process came to, and why there are not more."""
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **_ONE_THREAD},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        answers: list[SymbolNight] = []
        words = asyncio.create_task(process.stderr.read())
        try:
            async with asyncio.timeout(limit_s):
                with contextlib.suppress(ConnectionError):  # it ended before it was asked: its code says more
                    process.stdin.write(msgspec.json.encode(asked))
                    process.stdin.close()
                async for line in process.stdout:
                    answer = msgspec.json.decode(line, type=SymbolNight)
                    answers.append(answer)  # one by one: those before the limit are kept
                code = await process.wait()
            said = (await words).decode(errors="replace").strip()[-MOST_WORDS:]
            return answers, f"the process ended with {code}: {said}"
        except TimeoutError:
            return answers, f"not judged within {limit_s} s, the limit of all symbols together"
        except msgspec.MsgspecError as error:
            return answers, f"the process said what cannot be read: {error}"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            words.cancel()

    async def tell(self) -> None:
        """Tell risk, of each instrument, the most that a way says of its next day, where the last night is untold.

        That is after each night and after a start, for risk may begin with nothing; the next call tells what failed.
        """
        if self._untold is None:
            return
        night, found = self._untold
        try:
            for one in found:
                most = one.most_cautious
                if most is not None:
                    await self._context.bus.append("control", self._next_day(night, one, *most))
            self._untold = None
        except FleetError as error:
            self._context.log.warning("backtest_untold", night=str(night), error=str(error))

    def _next_day(self, night: date, one: SymbolNight, method: str, var: float) -> NightlyVar:
        interval_ms = WIDTHS_MS[one.interval]
        return NightlyVar(
            instrument=one.instrument,
            method=method,
            passes=method in one.passing,
            var=var,
            level=one.level,
            interval_ms=interval_ms,
            deviation=deviation_behind(var, one.level, interval_ms),
            returns=one.returns,
            ts_event=begin_of(night, self._settings.at),
            ts_init=self._context.clock.wall_ns(),
            trace_id=f"backtest:{night}",
        )

    def _show_again(self, night: date) -> None:
        """Export the last night of an earlier run: an alert does not end because the service began anew."""
        try:
            found = self._nights.read(night)
            self._show(found)
            self._untold = night, found
        except Misuse as error:
            self._context.log.warning("backtest_unreadable", error=str(error))

    def _show(self, found: Sequence[SymbolNight]) -> None:
        self._hide()
        self._is_shown = True
        for one in found:
            symbol = split_id(one.instrument)[0]
            self._context.metrics.backtest_failed.labels(symbol).set(one.failed is not None)
            for method, tested in one.methods.items():
                self._show_method(symbol, method, tested)

    def _hide(self) -> None:
        """Export no night any more: of none that is left out does an alert remain."""
        if not self._is_shown:
            return
        metrics = self._context.metrics
        for gauge in (
            metrics.backtest_exceptions,
            metrics.backtest_observations,
            metrics.backtest_p_value,
            metrics.backtest_zone,
            metrics.backtest_z2,
            metrics.backtest_failed,
        ):
            gauge.clear()
        self._is_shown = False

    def _show_method(self, symbol: str, method: str, tested: Tested) -> None:
        metrics = self._context.metrics
        names = (symbol, method)
        numbers = (
            (metrics.backtest_exceptions, names, tested.exceptions),
            (metrics.backtest_observations, names, tested.observations),
            (metrics.backtest_p_value, (*names, "coverage"), tested.p_pof),
            (metrics.backtest_p_value, (*names, "independence"), tested.p_cci),
            (metrics.backtest_p_value, (*names, "both"), tested.p_cc),
            (metrics.backtest_zone, names, None if tested.zone is None else _ZONES[tested.zone]),
            (metrics.backtest_z2, names, tested.z2),
        )
        for gauge, labels, number in numbers:
            # A series begins at 0 when it is named, and a p of 0 would be an alarm.
            if number is not None:
                gauge.labels(*labels).set(number)

    def _log(self, night: date, found: Sequence[SymbolNight]) -> None:
        log = self._context.log
        for one in found:
            about = {"night": str(night), "instrument": one.instrument, "interval": one.interval}
            if one.failed is not None:
                log.warning("backtest_failed", **about, error=one.failed)
            elif not one.methods:
                log.info("backtest_too_few", **about, returns=one.returns, needed=one.needed, gaps=one.gaps)
            else:
                refused = {method: tested.refused for method, tested in one.methods.items() if tested.refused}
                say = log.warning if one.rejected or refused else log.info
                say("backtest", **about, passing=one.passing, rejected=[*one.rejected], refused=refused, gaps=one.gaps)

    def _alerts(self, night: date, found: Sequence[SymbolNight]) -> Iterator[Alert]:
        for one in found:
            if one.failed is not None:
                yield self._alert("backtest_failed", f"{one.instrument}, night {night}: {one.failed}")
            elif one.rejected:
                ways = "; ".join(_told(method, tested) for method, tested in one.rejected.items())
                text = f"{one.instrument}, night {night}: {one.level:g} value at risk over {one.interval}: {ways}"
                yield self._alert("backtest_rejected", text)

    def _alert(self, name: str, text: str) -> Alert:
        now = self._context.clock.wall_ns()
        return Alert(name=name, severity="warning", service=NAME, text=text, ts_event=now, ts_init=now)


def _classes(config: FleetConfig, context: ServiceContext) -> dict[str, AssetClass]:
    rules = {name: config.instruments.get(name) for name in context.options.instruments}
    return {name: "crypto" if rule is None else rule.asset_class for name, rule in rules.items()}


def _unanswered(instrument: str, asked: Asked, settings: BacktestParams, why: str) -> SymbolNight:
    return msgspec.structs.replace(SymbolNight.unjudged(instrument, settings, asked.until_ns), failed=why)


def _told(method: str, tested: Tested) -> str:
    p = "none" if tested.p_pof is None else f"{tested.p_pof:.3g}"
    return (
        f"{method} had {tested.exceptions} exceptions in {tested.observations}, {tested.expected:g} expected, "
        f"p {p}, zone {tested.zone or 'none'}"
    )
