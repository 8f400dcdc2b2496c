"""Files and environment to a configuration, with every fault at its line."""

from __future__ import annotations

import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from edgefleet.errors import Misuse
from edgefleet.params.faults import InvalidConfig
from edgefleet.params.files import inside, load_component, load_fleet
from edgefleet.params.schema import FleetConfig
from edgefleet.params.schema.router import RouterParams
from edgefleet.params.versions import validate

CONF = Path(__file__).parents[3] / "conf"


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    return Path(shutil.copytree(CONF, tmp_path / "conf"))


def _faults(conf: Path, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(InvalidConfig) as told:
        load_fleet(conf, environ or {})
    return [str(fault) for fault in told.value.faults]


def test_the_shipped_files_say_what_the_defaults_say() -> None:
    shipped, built_in = load_fleet(CONF, {}), FleetConfig()

    for component in ("risk_harmonizer", "features", "execution", "fleet"):
        assert getattr(shipped, component) == getattr(built_in, component)


def test_the_shipped_instruments_have_binances_steps() -> None:
    bitcoin = load_fleet(CONF, {}).instruments.get("BTC/USDT@sim")

    assert bitcoin is not None
    assert (bitcoin.tick_size, bitcoin.lot_size, bitcoin.min_notional) == (
        Decimal("0.01"),
        Decimal("0.00001"),
        Decimal(5),
    )


def test_what_was_stored_reads_back_to_the_same_hash() -> None:
    config = load_fleet(CONF, {})

    assert validate(config.model_dump(mode="json")).hash == config.hash


def test_a_directory_that_is_not_there_is_one_line_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="is not there; `edgefleet init` writes one"):
        load_fleet(tmp_path / "nowhere", {})


def test_faults_of_all_files_are_told_together(conf: Path) -> None:
    (conf / "features.yml").write_text("bar_ms: 0\nbogus: 1\n")
    (conf / "fleet.yml").write_text("account: main\naccount: other\n")
    (conf / "venues" / "sim.yml").write_text("rest_url: http://x\nstream_url: ws://x\nmaker_fee: 2\n")

    assert _faults(conf) == [
        "conf/features.yml:1: bar_ms: should be greater than 0, was 0",
        "conf/features.yml:2: bogus: is unknown here",
        "conf/venues/sim.yml:3: venues.sim.maker_fee: should be less than 1, was 2",
        "conf/fleet.yml:2: account: stands twice, first in line 1",
    ]


@pytest.mark.parametrize("value", ["yes", '"1000"', "1000.5", "[1000]", "null"])
def test_a_value_of_another_type_is_refused(conf: Path, value: str) -> None:
    (conf / "features.yml").write_text(f"bar_ms: {value}\n")

    (fault,) = _faults(conf)

    assert fault.startswith("conf/features.yml:1: bar_ms: should be a valid integer")


def test_a_missing_key_is_told_at_the_block_that_lacks_it(conf: Path) -> None:
    (conf / "venues" / "sim.yml").write_text("rest_url: http://x\n")

    assert _faults(conf) == ["conf/venues/sim.yml:1: venues.sim.stream_url: is missing"]


@pytest.mark.parametrize("wrapper", ["risk_harmoniser", "risk_harmonizer", None])
def test_both_spellings_and_none_wrap_the_risk_file(conf: Path, wrapper: str | None) -> None:
    inner = "position_sizing: {kelly_fraction: 0.1}"
    (conf / "risk_params.yml").write_text(f"{wrapper}:\n  {inner}\n" if wrapper else f"{inner}\n")

    assert load_fleet(conf, {}).risk_harmonizer.position_sizing.kelly_fraction == 0.1


def test_what_stands_beside_the_wrapper_is_refused(conf: Path) -> None:
    (conf / "risk_params.yml").write_text("risk_harmoniser: {}\nrisk_harmonizer: {}\n")

    assert _faults(conf) == ["conf/risk_params.yml:1: risk_harmoniser: stands beside risk_harmonizer; put it inside"]


def test_router_rules_are_read_in_the_shape_that_users_have(conf: Path) -> None:
    (conf / "model_router_rules.yml").write_text(
        "model_router:\n"
        "  rules:\n"
        '    - {match: {asset_class: "crypto", horizon_ms: "<=60000"}, model: ob_pressure, priority: 10}\n'
        "    - {match: {asset_class: us_stocks}, models: [ma_momentum]}\n"
        "  config: {default_model: ob_pressure, cache_ttl_seconds: 300}\n"
        "  model_thresholds: {ob_pressure: {max_latency_ms: 50, min_accuracy: 0.55}}\n"
    )

    router = load_fleet(conf, {}).model_router

    assert isinstance(router, RouterParams)
    assert [(rule.asset_class, rule.horizon_ms, rule.chosen) for rule in router.rules] == [
        ("crypto", "<=60000", ("ob_pressure",)),
        ("us_stocks", "*", ("ma_momentum",)),
    ]
    assert router.default_model == "ob_pressure"


def test_two_equal_priorities_name_both_lines(conf: Path) -> None:
    (conf / "model_router_rules.yml").write_text(
        "rules:\n- {model: ob_pressure, priority: 3}\n- {model: ma_momentum}\n- {model: ma_momentum, priority: 3}\n"
    )

    assert _faults(conf) == [
        "conf/model_router_rules.yml:4: rules.2.priority: 3 is the priority of the rule in line 2 too"
    ]


def test_a_fault_inside_a_rules_match_stands_at_its_line(conf: Path) -> None:
    (conf / "model_router_rules.yml").write_text("rules:\n- model: ob_pressure\n  match:\n    horizon_ms: banana\n")

    (fault,) = _faults(conf)

    assert fault.startswith("conf/model_router_rules.yml:4: rules.0.horizon_ms: ")


def test_a_validators_text_that_names_its_key_finds_the_line(conf: Path) -> None:
    (conf / "models.yml").write_text("models:\n  ob_pressure:\n    parameters:\n      scale_bps: -1\n")

    (fault,) = _faults(conf)

    assert fault.startswith("conf/models.yml:4: models.ob_pressure.parameters.scale_bps: ")


def test_the_environment_stands_above_the_files(conf: Path) -> None:
    config = load_fleet(
        conf,
        {
            "EDGEFLEET__RISK_HARMONISER__POSITION_SIZING__KELLY_FRACTION": "0.2",
            "EDGEFLEET__INSTRUMENTS__SYMBOLS__BTC_USDT__MIN_NOTIONAL": "7",
            "EDGEFLEET__VENUES__VENUES__SIM__REST_URL": "http://venue:9180",
            "EDGEFLEET__FLEET__MODE": "demo",
            "EDGEFLEET__HTTP__HOST": "0.0.0.0",
        },
    )

    assert config.risk_harmonizer.position_sizing.kelly_fraction == 0.2
    assert config.instruments.symbols["BTC/USDT"].min_notional == 7
    assert config.venues.venues["sim"].rest_url == "http://venue:9180"


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("EDGEFLEET__BOGUS__KEY", "1", "EDGEFLEET__BOGUS__KEY: names no component; they are execution, "),
        ("EDGEFLEET__FEATURES__BOGUS", "1", "EDGEFLEET__FEATURES__BOGUS: bogus: is unknown here"),
        ("EDGEFLEET__FEATURES__BAR_MS", "0", "EDGEFLEET__FEATURES__BAR_MS: bar_ms: should be greater than 0, was 0"),
        ("EDGEFLEET__FEATURES", "1", "EDGEFLEET__FEATURES: cannot replace a value: the variable: names no key"),
        (
            "EDGEFLEET__FEATURES__BAR_MS__X",
            "1",
            "EDGEFLEET__FEATURES__BAR_MS__X: cannot replace a value: bar_ms.x passes",
        ),
        (
            "EDGEFLEET__FEATURES__BAR_MS",
            "[1",
            "EDGEFLEET__FEATURES__BAR_MS: cannot replace a value: '[1': is not YAML",
        ),
    ],
)
def test_a_bad_variable_is_named(conf: Path, variable: str, value: str, told: str) -> None:
    (fault,) = _faults(conf, {variable: value})

    assert fault.startswith(told)


def test_a_config_path_is_relative_to_the_directory_that_holds_conf(conf: Path) -> None:
    assert inside(conf, "conf/fleet.yml") == (conf / "fleet.yml").resolve()


def test_a_leading_conf_means_the_configuration_directory_whatever_its_name(conf: Path) -> None:
    other = conf.rename(conf.parent / "settings")

    assert inside(other, "conf/fleet.yml") == (other / "fleet.yml").resolve()


@pytest.mark.parametrize("path", ["../secret.yml", "conf/../../x.yml", "/etc/passwd", "conf/link.yml"])
def test_a_config_path_that_leads_out_is_refused(conf: Path, path: str) -> None:
    (conf / "link.yml").symlink_to("/etc/hostname")

    with pytest.raises(Misuse, match="leads out of"):
        inside(conf, path)


def test_a_file_that_is_asked_for_and_not_there_is_a_fault(conf: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"conf/gone\.yml: is not there"):
        load_component("fleet", conf / "gone.yml", {})


def test_a_file_that_is_not_text_is_a_fault(conf: Path) -> None:
    (conf / "fleet.yml").write_bytes(b"account: \xff\n")

    assert _faults(conf) == ["conf/fleet.yml: is not UTF-8: invalid start byte at byte 9"]


def test_a_rule_that_names_an_unknown_model_is_refused_at_its_line(conf: Path) -> None:
    (conf / "model_router_rules.yml").write_text("rules:\n- model: ob_pressure\n- model: ob_presure\n")

    assert _faults(conf) == [
        "conf/model_router_rules.yml:3: rules.1: names model 'ob_presure'; models.yml has ma_momentum, ob_pressure"
    ]


def test_a_back_test_of_bars_that_are_not_kept_is_refused_at_its_line(conf: Path) -> None:
    (conf / "features.yml").write_text("keep: {bars: [1m, 1d]}\nbacktest:\n  interval: 1h\n")

    assert _faults(conf) == [
        "conf/features.yml:3: backtest.interval: is 1h, and keep.bars has 1m, 1d; keep it, or set run: never"
    ]


def test_a_signed_request_may_not_outlive_half_the_lease(conf: Path) -> None:
    (conf / "fleet.yml").write_text("take_over_ms: 2000\n")

    assert _faults(conf) == [
        f"conf/venues/{venue}.yml:{line}: venues.{venue}.recv_window_ms: "
        "must be below half of fleet's take_over_ms, 1000, was 1000"
        for venue, line in (("binance", 7), ("sim", 7))
    ]
