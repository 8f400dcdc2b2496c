"""`edgefleet risk size|blend|explain`: edges from a file, the whole verdict, and one line for whatever is wrong."""

from __future__ import annotations

import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.unit.risk.test_ask import ASKED, EDGE
from tests.unit.risk.world import BTC, ETH

from edgefleet_services.cli.main import outcome

CONF = Path(__file__).parents[3] / "conf"


def written(folder: Path, body: object) -> Path:
    path = folder / "edges.json"
    path.write_text(body if isinstance(body, str) else json.dumps(body))
    return path


def answered(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    code = outcome(["risk", *map(str, words), "--conf", str(CONF), "--json"])
    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    body: dict[str, Any] = json.loads(printed.out)
    return body


def by_name(numbers: list[dict[str, Any]]) -> dict[str, Any]:
    return {one["name"]: one["value"] for one in numbers}


def test_a_size_has_every_limit_with_its_head_room(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    body = answered(capsys, "size", written(tmp_path, ASKED))

    (found,) = body["explanations"]
    limits = {one["title"]: by_name(one["numbers"]) for one in found["limits"]}
    assert found["verdict"]["approved"]
    assert found["verdict"]["binding"] == "var_week"
    assert set(found["head_room"]) == {*limits, "drawdown"}
    assert set(limits) >= {"position", "single", "order_size", "leverage", "class", "cluster", "net", "var", "es"}
    used = limits["var"]["used"]
    own, held = float(found["verdict"]["quantity"]) * 60_000.01 / 1e5 * 0.03, 3 * 3_000.01 / 1e5 * 0.04
    assert used == pytest.approx(1.6448536 * math.sqrt(own * own + held * held + 1.6 * own * held))
    assert found["head_room"]["var"] == pytest.approx((0.02 - used) / 0.02)


def test_targets_that_are_sized_together_keep_to_the_limits_together(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    flat = dict.fromkeys(ASKED["positions"], "0")
    both = [{**EDGE, "edge_bps": 120.0}, {**EDGE, "edge_bps": 120.0, "instrument": ETH}]
    asked = {**ASKED, "positions": flat, "correlations": {BTC: {ETH: 0.95}}, "edges": both}

    first, second = answered(capsys, "size", written(tmp_path, asked))["explanations"]

    own = [float(one["verdict"].get("quantity", 0)) for one in (first, second)]
    risks = [own[0] * 60_000.01 / 1e5 * 0.03, own[1] * 3_000.01 / 1e5 * 0.04]
    together = 1.6448536 * math.sqrt(risks[0] ** 2 + risks[1] ** 2 + 2 * 0.95 * risks[0] * risks[1])
    assert own[0] > 0
    assert together <= 0.035 / math.sqrt(7) * (1 + 1e-6)  # what sizing aims at: the weekly target


def test_a_size_is_told_for_people_number_by_number(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code = outcome(["risk", "size", str(written(tmp_path, ASKED)), "--conf", str(CONF)])

    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert lines[0] == BTC
    assert lines[-1].startswith("verdict: approved, 0.")
    heads = [line for line in lines if not line.startswith(" ")]
    assert heads[1:-1] == [
        "models",
        "blend",
        "account",
        "breakers",
        "gates",
        "cost",
        "variance",
        "portfolio",
        "size",
        "limits",
    ]
    assert any("(D - d) / (D (1 - d))" in line for line in lines)


def test_a_refusal_is_an_answer(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    body = answered(capsys, "size", written(tmp_path, {**ASKED, "edges": [{**EDGE, "edge_bps": 5}]}))

    (found,) = body["explanations"]
    verdict = found["verdict"]
    assert (verdict["approved"], verdict["reason"]) == (False, "EDGE_BELOW_COST")
    assert verdict["observed"] == pytest.approx(4.5)
    assert verdict["limit"] == pytest.approx(10.0017, abs=1e-4)
    assert found["head_room"]["position"] == 1.0


def test_each_instrument_with_an_edge_has_its_verdict(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    edges = [EDGE, {**EDGE, "instrument": "ETHUSDT@sim"}]

    body = answered(capsys, "size", written(tmp_path, {**ASKED, "edges": edges}))

    assert [one["instrument"] for one in body["explanations"]] == [BTC, ETH]


def test_a_blend_is_read_from_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    edges = [EDGE, {**EDGE, "model": "n", "edge_bps": 10}, {**EDGE, "model": "o", "confidence": 0.1}]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps({"edges": edges}).encode())))

    body = answered(capsys, "blend", "-")

    (found,) = body["blends"]
    assert [(one["title"], by_name(one["numbers"])["is"]) for one in found["models"]] == [
        ("m", "kept"),
        ("n", "kept"),
        ("o", "below min confidence"),
    ]
    assert by_name(found["blend"])["edge"] == pytest.approx(13.5)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({**ASKED, "equity": 0}, "equity must be positive, from 1e-30 to 1e+30, was 0"),
        ({name: value for name, value in ASKED.items() if name != "peak"}, "peak is missing"),
        ({**ASKED, "day_deviations": {BTC: -1, ETH: 0.1}}, "must be positive, from 1e-30 to 1e+30, was -1.0"),
        ({**ASKED, "correlations": {BTC: {ETH: -1}}}, "pivot 1 is 0.0 of 1.0"),
        ({**ASKED, "edges": [{**EDGE, "confidence": 2}]}, "edges[0].confidence must be in [0, 1], was 2.0"),
        ({**ASKED, "edges": [{name: EDGE[name] for name in EDGE if name != "weight"}]}, "field `weight`"),
        ({**ASKED, "leverage": 3}, "unknown field `leverage`"),
        ({**ASKED, "edges": [{**EDGE, "edge": 3}]}, "unknown field `edge`"),
        ({**ASKED, "equity": "much"}, "$.equity"),
        ({**ASKED, "equity": "NaN"}, "equity must be finite, was NaN"),
        ({**ASKED, "peak": "sNaN"}, "peak must be finite, was sNaN"),
        ({**ASKED, "positions": {BTC: "NaN", ETH: 0}}, f"positions {BTC} must be finite, was NaN"),
        ({**ASKED, "prices": {**ASKED["prices"], BTC: {"bid": "sNaN", "ask": 1}}}, "bid must be finite, was sNaN"),
        ('{"edges": [{"edge_bps": NaN}]}', "malformed"),
        ("", "truncated"),
        ("[]", "Expected `object`"),
    ],
)
def test_what_cannot_be_sized_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, body: object, said: str
) -> None:
    path = written(tmp_path, body)

    code = outcome(["risk", "size", str(path), "--conf", str(CONF)])

    printed = capsys.readouterr()
    assert (code, printed.out) == (2, "")
    assert printed.err.count("\n") == 1
    assert str(path) in printed.err
    assert said in printed.err


@pytest.mark.parametrize("command", ["size", "blend"])
def test_a_file_that_is_not_there_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    code = outcome(["risk", command, str(tmp_path / "none.json"), "--conf", str(CONF)])

    printed = capsys.readouterr()
    assert (code, printed.err.count("\n")) == (2, 1)
    assert "cannot be read: No such file" in printed.err


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ("var_hard_limit: 0.01", "var_targets.daily_95pct 0.015 is above var_hard_limit 0.01"),
        ("concentration_limits: {single: 0.7}", "concentration_limits.single 0.7 is above class 0.6"),
        ("expected_shortfall: {target: 0.03}", "expected_shortfall.target 0.03 is above hard_limit 0.0285"),
        ("exposure_limits: {net: 5}", "exposure_limits.net 5.0 is above gross 4.0"),
        (
            "exposure_limits: {net: 1}\n  fleet_limits: {var_hard_limit: 0.2}",
            "0.025 is below fleet_limits.var_hard_limit 0.2",
        ),
    ],
)
def test_limits_that_contradict_each_other_are_refused_with_both_numbers(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, limits: str, said: str
) -> None:
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "risk_params.yml").write_text(f"risk_harmonizer:\n  risk_limits:\n    {limits}\n")

    code = outcome(["risk", "size", str(written(tmp_path, ASKED)), "--conf", str(conf)])

    printed = capsys.readouterr()
    assert (code, printed.out, printed.err.count("\n")) == (2, "", 1)
    assert said in printed.err


def test_a_configuration_that_is_not_there_is_no_default(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code = outcome(["risk", "size", str(written(tmp_path, ASKED)), "--conf", str(tmp_path / "none")])

    assert code == 2
    assert "is not there" in capsys.readouterr().err


def test_a_venue_that_is_named_twice_must_be_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    code = outcome(["risk", "explain", BTC, "--venue", "kraken"])

    assert code == 2
    assert "is at sim, and --venue says kraken" in capsys.readouterr().err


def test_without_a_fleet_there_is_nothing_to_explain(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    code = outcome(["risk", "explain", "BTC/USDT", "--redis-url", "redis://127.0.0.1:1/0"])

    printed = capsys.readouterr()
    assert (code, printed.err.count("\n")) == (3, 1)
    assert "does not answer" in printed.err


@pytest.mark.parametrize("command", ["size", "blend"])
def test_the_page_shows_what_is_printed(capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str) -> None:
    page = (CONF.parent / "docs" / "risk_harmoniser.md").read_text()
    example = page.partition("$ cat edges.json\n")[2].partition("\n$ ")[0]
    shown = page.partition(f"$ edgefleet risk {command} edges.json\n")[2].partition("\n```")[0].partition("\n$ ")[0]

    code = outcome(["risk", command, str(written(tmp_path, example)), "--conf", str(CONF)])

    assert code == 0
    assert capsys.readouterr().out.strip() == shown
