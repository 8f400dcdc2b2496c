"""`conf/model_router_rules.yml`: which models are listened to for which instrument and horizon."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from edgefleet.params.schema.base import Params
from edgefleet.params.schema.horizon import parse_horizon


def _as_text(value: Any) -> Any:
    """YAML reads a bare ``60000`` as a number; it means the same as the text."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class RouterRule(Params):
    """One line of the rules: for what, and whom to listen to."""

    asset_class: str = Field("*", min_length=1, description="glob over the class: crypto, us_stocks, *")
    instrument: str = Field("*", min_length=1, description="glob over BTC/USDT@sim, BTC/USDT or BTCUSDT")
    regime: str | None = Field(None, description="only in this regime; null: in every one")
    horizon_ms: Annotated[str, BeforeValidator(_as_text)] = Field(
        "*", description="<N <=N >N >=N =N A-B * joined by &, in ms: '>=1000&<60000'"
    )
    model: str | None = Field(None, min_length=1, description="one model to listen to")
    models: tuple[str, ...] = Field((), description="several, with equal weights")
    priority: int | None = Field(None, description="the larger goes first; file order where absent")
    description: str = Field("", description="for people")
    name: str | None = Field(None, min_length=1, description="how messages cite the rule; its place where absent")

    @field_validator("horizon_ms")
    @classmethod
    def _horizon_parses(cls, text: str) -> str:
        parse_horizon(text)
        return text

    @model_validator(mode="after")
    def _names_models(self) -> Self:
        if self.model is not None and self.models:
            raise ValueError("give model or models, not both")
        if not self.chosen:
            raise ValueError("a rule needs model or models")
        if len(set(self.chosen)) != len(self.chosen):
            raise ValueError(f"models names one twice: {', '.join(self.chosen)}")
        return self

    @property
    def chosen(self) -> tuple[str, ...]:
        """Return the models to listen to."""
        return self.models if self.model is None else (self.model,)


class ModelThresholds(Params):
    """What a model must keep to be listened to."""

    max_latency_ms: float | None = Field(None, gt=0, description="accepted, not enforced yet")
    min_accuracy: float | None = Field(None, ge=0, le=1, description="accepted, not enforced yet")
    min_confidence: float | None = Field(None, ge=0, le=1, description="an edge below it abstains")


def _default_rules() -> tuple[RouterRule, ...]:
    return (RouterRule(name="all", models=("ob_pressure", "ma_momentum"), description="both models, every horizon"),)


class RouterParams(Params):
    """Routing rules."""

    rules: tuple[RouterRule, ...] = Field(default_factory=_default_rules)
    default_model: str | None = Field(None, description="listened to where no rule fits; null: nobody is")
    dwell_ms: int = Field(2_000, ge=0, description="market time after a switch before a model may join again")
    freshness: float = Field(1.0, gt=0, le=10, description="an edge older than this many of its horizons is stale")
    cache_ttl_seconds: float = Field(300.0, ge=0, description="accepted from older files and unused")
    model_thresholds: dict[str, ModelThresholds] = Field(default_factory=dict)
    feature_flags: dict[str, bool] = Field(default_factory=dict, description="accepted; nothing reads one yet")
    mode: Literal["rules"] = Field("rules", description="how models are chosen")

    @model_validator(mode="after")
    def _rules_are_told_apart(self) -> Self:
        """Refuse two rules of one explicit priority or one name: which would win is nobody's intention."""
        by_priority: dict[int, int] = {}
        by_name: dict[str, int] = {}
        for place, rule in enumerate(self.rules):
            if rule.priority is not None and by_priority.setdefault(rule.priority, place) != place:
                first, second = _cite(self.rules, by_priority[rule.priority]), _cite(self.rules, place)
                raise ValueError(f"{first} and {second} have the same priority {rule.priority}")
            name = rule_name(rule, place)
            if by_name.setdefault(name, place) != place:
                raise ValueError(f"rules {by_name[name] + 1} and {place + 1} have the same name {name!r}")
        return self

    @cached_property
    def ordered(self) -> tuple[tuple[str, RouterRule], ...]:
        """Return (name, rule) in order of trial: explicit priorities from large to small, then file order."""
        named = [(rule_name(rule, place), rule) for place, rule in enumerate(self.rules)]
        explicit = sorted((pair for pair in named if pair[1].priority is not None), key=_priority, reverse=True)
        return tuple(explicit) + tuple(pair for pair in named if pair[1].priority is None)


def rule_name(rule: RouterRule, place: int) -> str:
    """Return how messages cite a rule: its name, else its place in the file from 1."""
    return rule.name or f"rule-{place + 1}"


def _priority(pair: tuple[str, RouterRule]) -> int:
    return pair[1].priority or 0


def _cite(rules: tuple[RouterRule, ...], place: int) -> str:
    rule = rules[place]
    label = rule.name or rule.description
    return f"rule {place + 1}" + (f" ({label})" if label else "")
