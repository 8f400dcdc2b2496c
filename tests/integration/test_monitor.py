"""The monitor's process on a real Redis: what it answers, what it writes for others, and its page in a real browser."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from tests.integration.one_service import ROOT, start
from tests.unit.ledger.test_books import account, session

from edgefleet.bus.embedded import EmbeddedServer
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.ledger.stage import LedgerStage, all_together, statements
from edgefleet.messages import Message, ModelSwitched, OrderState, Refusal, Refused, TouchAge
from edgefleet.params.schema import FleetConfig
from edgefleet.params.store import ParamStore
from edgefleet.params.writer import ParamWriter
from edgefleet.stage import Input
from edgefleet.testing.build import approved, beat, breaker_moved, ensemble, fill, order_event, touch
from edgefleet.testing.clock import START_NS
from edgefleet_services.monitor.watch import SAMPLE

pytestmark = pytest.mark.integration
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer.start(tmp_path / "redis", free_port()) as running:
        yield running


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
async def bus(server: EmbeddedServer) -> AsyncIterator[RedisBus]:
    async with await RedisBus.connect(server.url) as connected:
        await ParamWriter(ParamStore(connected.redis)).start(ROOT / "conf")
        yield connected


@pytest.fixture
async def client(server: EmbeddedServer, bus: RedisBus, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a running monitor; it must leave with 0 when it is told to."""
    port, log = free_port(), tmp_path / "monitor.log"
    process = start("monitor", server.url, tmp_path / "data", port, log=log)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=5) as connected:
            await answering(connected, process, log)
            yield connected
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 10) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


async def answering(client: httpx.AsyncClient, process: subprocess.Popen[bytes], log: Path) -> None:
    async with asyncio.timeout(20):
        while True:
            assert process.poll() is None, log.read_text()
            try:
                if (await client.get("/health")).status_code == 200:
                    return
            except httpx.ConnectError:
                pass
            await asyncio.sleep(0.05)


async def until(client: httpx.AsyncClient, path: str, holds: Any) -> Any:
    """Return what `path` answers as soon as `holds` of it."""
    async with asyncio.timeout(10):
        while not holds(body := (await client.get(path)).json()):  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.05)
        return body


REFUSED = Refused(
    by="risk", target_id=None, account="main", instrument="BTC/USDT@sim", reason=Refusal.VAR_LIMIT, limit=0.02,
    observed=0.031, edge_bps=4.5, ts_event=START_NS, ts_init=START_NS, trace_id="x", cause="ensembles/1-0",
    config="0" * 64,
)  # fmt: skip
SWITCHED = ModelSwitched(
    instrument="BTC/USDT@sim", rule="crypto-fast", before=(), after=("ob_pressure",), reason="first", ts_event=START_NS,
    ts_init=START_NS, trace_id="x", cause="signals/1-0", config="0" * 64,
)  # fmt: skip


async def trade(bus: RedisBus) -> None:
    """Fill the streams as a fleet that bought once does, and the ledger's key as the ledger does."""
    bought = fill(price=Decimal(60_000))
    told: list[tuple[str, Message]] = [
        ("control", session()),
        ("fills", account(USDT="100000")),
        ("beats", touch()),
        ("beats", beat()),
        ("ensembles", ensemble()),
        ("ensembles", SWITCHED),
        ("model.switch.log", SWITCHED),
        ("targets", approved()),
        ("refusals", REFUSED),
        ("orders", order_event()),
        ("orders", order_event(state=OrderState.FILLED, filled=Decimal("0.1"))),
        ("fills", bought),
    ]
    await bus.latch("ACTIVE", reason="session start", by="edgefleet up", person=True, ts=START_NS)
    stage, state = LedgerStage(), LedgerStage().initial()
    for stream, message in told:
        entry = await bus.append(stream, message)
        if stream in stage.inputs:
            stage.step(state, Input(stream, entry, message), FleetConfig())
    for line in statements(state):
        await bus.redis.set(f"ledger:books:{line.account}@{line.venue}", msgspec.json.encode(line))
    await bus.redis.set("ledger:together", msgspec.json.encode(all_together(state)))


async def test_before_anything_happened_everything_is_absent_and_nothing_is_zero(client: httpx.AsyncClient) -> None:
    status = (await client.get("/api/v1/status")).json()

    assert status["session"] is None
    assert status["trading_state"] is None
    assert status["accounts"] == status["market"] == status["risk"] == status["breakers"] == []
    assert (await client.get("/api/v1/breakers")).json() == []
    assert (await client.get("/api/v1/orders")).json() == (await client.get("/api/v1/stress")).json() == []
    metrics = (await client.get("/metrics")).text
    for money in (
        "equity_usd",
        "pnl_realized_usd",
        "var_pct{",
        "edge_blended_bps{",
        "trading_state ",
        "risk_stress_loss_ratio{",
        "risk_breaker_state{",
        "risk_breaker_moves_total{",
        "risk_head_room_ratio{",
    ):
        assert money not in metrics


async def test_what_the_fleet_did_is_told(client: httpx.AsyncClient, bus: RedisBus) -> None:
    await trade(bus)

    status = await until(client, "/api/v1/status", lambda s: s["accounts"] and s["trading_state"] and s["risk"])
    fills = await until(client, "/api/v1/fills", lambda rows: rows)
    orders = await until(client, "/api/v1/orders", lambda rows: rows and rows[0]["state"] == "FILLED")
    refusals = (await client.get("/api/v1/refusals")).json()
    curve = await until(client, "/api/v1/equity", lambda c: c.get("main@sim"))
    (stressed,) = await until(client, "/api/v1/stress", lambda rows: rows and rows[0]["scenarios"])

    (books,) = status["accounts"]
    assert books["equity"] == "99993.999"
    assert books["positions"][0]["quantity"] == "0.1"
    assert status["trading_state"]["state"] == "ACTIVE"
    assert status["refused"] == {"VAR_LIMIT": 1}
    assert (fills[0]["price"], fills[0]["fee"], fills[0]["fee_asset"]) == ("60000", "6", "USDT")
    assert len(orders) == 1
    assert (refusals[0]["observed"], refusals[0]["limit"]) == (0.031, 0.02)
    assert curve["main@sim"][0][1] == "99993.999"
    scenarios = {one["scenario"]: one for one in stressed["scenarios"]}
    assert scenarios["march_2020"]["loss"] == pytest.approx(0.372 * 0.1 * 59_999.99)
    assert scenarios["financial_crisis_2008"]["loss"] is None


async def test_other_programs_find_their_keys_channels_and_metrics(client: httpx.AsyncClient, bus: RedisBus) -> None:
    async with bus.subscribe("risk.edge_blended.BTC/USDT", "alpha.selected.BTC/USDT", "alpha.switching.events") as news:
        await trade(bus)
        async with asyncio.timeout(10):
            heard: dict[str, Any] = {}
            async for channel, payload in news:
                heard[channel] = json.loads(payload)
                if len(heard) == 3:
                    break
    await until(client, "/api/v1/equity", lambda c: c.get("main@sim"))

    redis: Any = bus.redis
    assert await redis.get("edge_blended_bps:BTC/USDT") == b"4.5"
    assert await redis.get("var_pct:BTC/USDT") == b"0.5"
    assert await redis.get("position_size_usd:BTC/USDT") == b"5999.999"
    async with asyncio.timeout(5):
        while await redis.get("model_switch_total") != b"1":  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.05)
    assert await redis.xlen("ts:edge_blended_bps:BTC/USDT") >= 1
    assert heard["alpha.selected.BTC/USDT"]["models"] == ["ob_pressure"]
    assert heard["risk.edge_blended.BTC/USDT"]["edge_bps"] == 4.5
    metrics = (await client.get("/metrics")).text
    for line in (
        "equity_usd 99993.999",
        "pnl_realized_usd -6.0",
        'var_pct{symbol="BTC/USDT"} 0.5',
        'model_confidence{model="ob_pressure",symbol="BTC/USDT"} 0.6',
        'model_switch_total{symbol="BTC/USDT"} 1.0',
        'edgefleet_refusals_total{reason="VAR_LIMIT"} 1.0',
        'edgefleet_data_age_seconds{symbol="BTC/USDT",venue="sim"} 0.005',
        'risk_stress_loss_ratio{scenario="march_2020"} 0.0223213',
        'risk_head_room_ratio{limit="position"} 0.5',
    ):
        assert line in metrics, metrics


async def test_of_a_burst_of_ensembles_each_instrument_s_newest_is_shown(
    client: httpx.AsyncClient, bus: RedisBus
) -> None:
    burst = 3 * SAMPLE
    async with bus.subscribe("alpha.switching.events") as news:
        for stream in ("ensembles", "model.switch.log"):
            await bus.append(stream, SWITCHED)
        for number in range(burst):
            for name in ("BTC/USDT@sim", "ETH/USDT@sim"):
                await bus.append("ensembles", ensemble(instrument=name, regime=f"r{number}"))

        models = await until(client, "/api/v1/status", lambda s: _regimes(s) == 2 * [f"r{burst - 1}"])

        async with asyncio.timeout(10):
            _, first = await anext(news)
        await bus.append("model.switch.log", msgspec.structs.replace(SWITCHED, reason="second"))
        async with asyncio.timeout(10):
            _, second = await anext(news)
    assert [one["instrument"] for one in models["models"]] == ["BTC/USDT@sim", "ETH/USDT@sim"]
    assert [json.loads(told)["reason"] for told in (first, second)] == ["first", "second"]


def _regimes(status: Any) -> list[str]:
    return [one["regime"] for one in status["models"]]


async def test_a_breaker_is_told_by_its_last_move_and_every_move_is_counted(
    client: httpx.AsyncClient, bus: RedisBus
) -> None:
    for moved in (
        breaker_moved(),
        breaker_moved(before="OPEN", after="HALF_OPEN"),
        breaker_moved(before="HALF_OPEN", observed=0.05),
        breaker_moved(breaker="staleness", scope="sim", after="DISABLED", action="none"),
    ):
        await bus.append("control", moved)

    lines = await until(client, "/api/v1/breakers", lambda rows: len(rows) == 2)

    assert [(one["breaker"], one["state"], one["observed"], one["limit"]) for one in lines] == [
        ("daily_loss", "OPEN", 0.05, 0.03),
        ("staleness", "DISABLED", 0.04, 0.03),
    ]
    assert {"scope", "unit", "action", "since", "reason"} <= set(lines[0])
    assert (await client.get("/api/v1/status")).json()["breakers"] == lines
    metrics = (await client.get("/metrics")).text
    for line in (
        'risk_breaker_state{breaker="daily_loss",scope="main|USDT"} 2.0',
        'risk_breaker_state{breaker="staleness",scope="sim"} 3.0',
        'risk_breaker_moves_total{after="OPEN",breaker="daily_loss"} 2.0',
        'risk_breaker_moves_total{after="HALF_OPEN",breaker="daily_loss"} 1.0',
    ):
        assert line in metrics, metrics


async def test_head_room_that_no_target_tells_any_more_has_no_series(client: httpx.AsyncClient, bus: RedisBus) -> None:
    async def exported(line: str, *, there: bool) -> None:
        async with asyncio.timeout(10):
            while (line in (await client.get("/metrics")).text) is not there:  # noqa: ASYNC110 - as in `until`
                await asyncio.sleep(0.05)

    await bus.append("targets", approved(head_room={"var": 0.4, "budget": 0.3}))
    await exported('risk_head_room_ratio{limit="budget"} 0.3', there=True)

    await bus.append("targets", approved(head_room={"var": 0.2}))

    await exported('risk_head_room_ratio{limit="var"} 0.2', there=True)
    await exported('limit="budget"', there=False)


async def test_a_monitor_that_starts_late_shows_this_session_and_not_the_last(
    bus: RedisBus, client: httpx.AsyncClient
) -> None:
    await trade(bus)
    await until(client, "/api/v1/fills", lambda rows: rows)

    await bus.append("control", msgspec.structs.replace(session("s2"), ts_init=START_NS + 1))

    status = await until(client, "/api/v1/status", lambda s: s["session"] and s["session"]["session"] == "s2")
    assert (await client.get("/api/v1/fills")).json() == []
    assert status["refused"] == {}
    assert await until(client, "/api/v1/status", lambda s: s["accounts"] == []) is not None


async def test_only_a_person_resumes(client: httpx.AsyncClient, bus: RedisBus) -> None:
    await bus.latch("ACTIVE", reason="start", by="edgefleet up", person=True, ts=1)
    path = "/api/v1/trading-state"

    halted = await client.post(path, json={"action": "halt", "reason": "looks odd"})
    unnamed = await client.post(path, json={"action": "resume", "reason": "fine"})
    foreign = await client.post(
        path, json={"action": "resume", "reason": "x", "by": "eve"}, headers={"Origin": "http://evil.example"}
    )
    named = await client.post(path, json={"action": "resume", "reason": "looked at it", "by": "ada"})
    unknown = await client.post(path, json={"action": "halt", "reason": "x", "speed": 3})

    assert halted.json() == {"state": "HALTED", "reason": "looks odd", "by": "api"}
    assert (unnamed.status_code, foreign.status_code, unknown.status_code) == (403, 403, 422)
    assert named.json() == {"state": "ACTIVE", "reason": "looked at it", "by": "ada"}
    assert (await client.get(path)).json()["state"] == "ACTIVE"


async def test_the_event_stream_repeats_the_status(client: httpx.AsyncClient, bus: RedisBus) -> None:
    await trade(bus)

    async with client.stream("GET", "/api/v1/stream") as stream, asyncio.timeout(10):
        async for line in stream.aiter_lines():
            if line.startswith("data:") and json.loads(line[5:])["fills"]:
                break

    assert stream.headers["content-type"].startswith("text/event-stream")


async def test_the_api_describes_itself(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]

    assert {"/health", "/metrics", "/api/v1/status", "/api/v1/trading-state", "/api/v1/stream"} <= set(paths)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
async def test_the_page_is_live_in_a_real_browser(client: httpx.AsyncClient, bus: RedisBus, tmp_path: Path) -> None:
    from playwright.async_api import async_playwright, expect

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 1280, "height": 900})
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))

        await page.goto(str(client.base_url))
        await expect(page.locator("#link")).to_contain_text("live")
        await expect(page.locator("#equity")).to_have_text("—")
        await expect(page.get_by_text("No fill yet.")).to_be_visible()
        await expect(page.get_by_text("No loss can be told yet")).to_be_visible()
        await expect(page.get_by_text("None has moved: every breaker is closed.")).to_be_visible()

        await trade(bus)
        await expect(page.locator("#state")).to_have_text("ACTIVE")
        await expect(page.locator("#equity")).to_have_text("99,994.00 USDT")
        await expect(page.locator("#fills tbody tr")).to_have_count(1)
        await expect(page.locator("#refusals")).to_contain_text("VAR_LIMIT")
        await expect(page.locator("#refusals")).to_contain_text("0.031")
        await expect(page.locator("#market")).to_contain_text("59999.99")
        march = page.locator("#stress tbody tr", has_text="march_2020").locator("td")
        await expect(march).to_have_text(["march_2020", "2.23", "97,762.00", "nothing"])
        crisis = page.locator("#stress tbody tr", has_text="financial_crisis_2008").locator("td")
        await expect(crisis).to_have_text(["financial_crisis_2008", "—", "—", "—"])
        await bus.append("control", breaker_moved())
        opened = page.locator("#breakers tbody tr").locator("td")
        await expect(opened).to_have_text(["daily_loss of main|USDT", "open", "0.04", "0.03", "reduce", "15:06:40.000"])
        await expect(page.get_by_text("None has moved")).to_be_hidden()
        await expect(page.locator("#stress-note")).to_contain_text("in no loss there: BTC/USDT@sim")

        if (pictures := os.environ.get("EDGEFLEET_TEST_PICTURES")) is not None:
            await page.screenshot(path=f"{pictures}/page.png", full_page=True)
        await page.fill("#reason", "looks odd")
        await page.get_by_role("button", name="Halt").click()
        await expect(page.locator("#state")).to_have_text("HALTED")
        await page.fill("#reason", "it was nothing")
        await page.get_by_role("button", name="Resume").click()
        await expect(page.locator("#latch-answer")).to_contain_text("only a person resumes")
        wrong = [text for text in wrong if "403" not in text]  # the browser tells of the refused request itself

        await page.set_viewport_size({"width": 390, "height": 800})
        too_wide = await page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        if pictures is not None:
            await page.screenshot(path=f"{pictures}/phone.png", full_page=True)
        await browser.close()

    assert wrong == []
    assert not too_wide
    assert {httpx.URL(url).host for url in asked} == {"127.0.0.1"}


async def test_two_venues_are_shown_together_with_what_is_open_between_them(
    client: httpx.AsyncClient, bus: RedisBus
) -> None:
    cheap = touch(instrument="BTC/USDT@sim", bid=Decimal(59_990), ask=Decimal(60_000), ask_size=Decimal(2))
    dear = touch(instrument="BTC/USDT@binance", bid=Decimal(60_300), bid_size=Decimal(1), ask=Decimal(60_310))
    for message in (cheap, dear):
        await bus.append("beats", message)

    def both(body: Any) -> bool:
        return len(body) == 1 and len(body[0]["venues"]) == 2

    await until(client, "/api/v1/markets", both)
    age = TouchAge(instrument="BTC/USDT@sim", bid=None, ask=None, age_ms=5, vwap_1m=Decimal(60_000))
    await bus.append("beats", beat(touches=(age,)))
    (line,) = await until(client, "/api/v1/markets", lambda body: body[0]["venues"][1]["vwap_1m"] is not None)

    assert [venue["venue"] for venue in line["venues"]] == ["binance", "sim"]
    assert line["venues"][1]["vwap_1m"] == "60000"
    (open_,) = line["arbitrage"]
    assert (open_["buy_at"], open_["sell_at"], open_["size"]) == ("sim", "binance", "1")
    # 60,300 x 0.999 - 60,000 x 1.001, of 60,000: both takers' fees of conf/venues are 0.1 %
    assert open_["net_bps"] == pytest.approx((60_300 * 0.999 - 60_000 * 1.001) / 60_000 * 10_000)
    metrics = (await client.get("/metrics")).text
    assert 'edgefleet_arbitrage_net_bps{buy_at="sim",sell_at="binance",symbol="BTC/USDT"}' in metrics
