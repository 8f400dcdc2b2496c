"""Pictures of the arithmetic of risk, as PNG files. Knows what stands where in them; computes nothing.

matplotlib, which comes with the extra `research`, is loaded when a picture is made, without its global state and
without a screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefleet.errors import Misuse

if TYPE_CHECKING:
    from edgefleet.risk.rolling import Rolled
    from edgefleet.risk.shortfall import Risk
    from edgefleet.risk.tails import ParetoTail
    from edgefleet_services.data.tables import Floats

_DOTS_PER_INCH = 120
_FEW = 12  # assets up to which each cell of a heat map tells its number
_CALM, _LOSS, _DEEP, _PALE = "#1f4e79", "#c0392b", "#7d1d12", "#9fb3c8"


def draw_weights(path: Path, names: Sequence[str], order: Sequence[int], weights: Floats, correlations: Floats) -> None:
    """Write the weights of a portfolio and the correlations of its assets, both as the leaves of the tree stand.

    Raises
    ------
    Misuse
        If the file cannot be written.
    """
    figure = _figure(12, max(4.5, 0.25 * len(names)))
    bars, heat = figure.subplots(1, 2, width_ratios=(1, 1.4))
    leaves = [names[place] for place in order]
    bars.barh(range(len(leaves)), [100 * float(weights[place]) for place in order], color=_CALM)
    bars.set_yticks(range(len(leaves)), leaves)
    bars.invert_yaxis()  # the first leaf on top, as in the heat map beside
    bars.set(xlabel="weight, %", title="weights, in the order of the tree")
    _heat_map(figure, heat, leaves, correlations[list(order)][:, list(order)])
    _save(figure, path)


def draw_covariance(path: Path, names: Sequence[str], correlations: Floats, deviations: Floats, title: str) -> None:
    """Write the correlations of a covariance as a heat map, and the deviations beside it.

    Raises
    ------
    Misuse
        If the file cannot be written.
    """
    figure = _figure(12, max(4.5, 0.25 * len(names)))
    bars, heat = figure.subplots(1, 2, width_ratios=(1, 1.4))
    bars.barh(range(len(names)), [100 * float(deviation) for deviation in deviations], color=_CALM)
    bars.set_yticks(range(len(names)), names)
    bars.invert_yaxis()
    bars.set(xlabel="standard deviation of a row, %", title=title)
    _heat_map(figure, heat, names, correlations)
    _save(figure, path)


def draw_risk(path: Path, title: str, returns: Floats, risk: Risk, rolled: Rolled) -> None:
    """Write the returns under the value at risk and the shortfall, and what was told day by day with its exceptions.

    Raises
    ------
    Misuse
        If the file cannot be written.
    """
    figure = _figure(12, 8)
    whole, daily = figure.subplots(2, 1)
    whole.plot(range(1, len(returns) + 1), 100 * returns, color=_PALE, linewidth=0.6, label="return")
    whole.axhline(-100 * risk.var, color=_LOSS, label=f"value at risk {100 * risk.var:.3g} %")
    whole.axhline(-100 * risk.es, color=_DEEP, linestyle="--", label=f"expected shortfall {100 * risk.es:.3g} %")
    whole.set(xlabel="return", ylabel="%", title=title)
    whole.legend(loc="lower left")
    _day_by_day(daily, rolled, len(returns) - len(rolled.returns))
    _save(figure, path)


def draw_tail(
    path: Path, title: str, curve: tuple[Floats, Floats], beyond: tuple[Floats, Floats, Floats], tail: ParetoTail
) -> None:
    """Write the mean excess over the threshold, and the fitted tail against the empirical one on logarithmic axes.

    Parameters
    ----------
    curve
        Thresholds, and the mean excess over each.
    beyond
        Losses above the threshold, ascending; the share of losses that are larger by count; and by the fit.

    Raises
    ------
    Misuse
        If the file cannot be written.
    """
    figure = _figure(12, 5)
    excess, fit = figure.subplots(1, 2)
    excess.plot(*curve, ".", color=_CALM, markersize=3)
    excess.axvline(tail.threshold, color=_LOSS, label=f"threshold {tail.threshold:g}")
    excess.set(xlabel="threshold", ylabel="mean excess over it", title=title)
    excess.legend(loc="upper left")
    losses, counted, fitted = beyond
    fit.loglog(losses, counted, ".", color=_CALM, label=f"{tail.n_exceed} of {tail.n} losses")
    fit.loglog(losses, fitted, color=_LOSS, label=f"xi {tail.xi:.4g}, beta {tail.beta:.4g}")
    fit.set(xlabel="loss", ylabel="share of losses that are larger", title="generalised Pareto beyond the threshold")
    fit.legend(loc="lower left")
    _save(figure, path)


def draw_backtest(path: Path, title: str, rolled: Rolled, first: int, rate: float) -> None:
    """Write what was told before each period with its exceptions, and their count beside the promised one.

    Raises
    ------
    Misuse
        If the file cannot be written.
    """
    figure = _figure(12, 8)
    daily, counts = figure.subplots(2, 1, height_ratios=(2, 1), sharex=True)
    _day_by_day(daily, rolled, first)
    daily.set_title(title)
    places = range(first + 1, first + 1 + len(rolled.returns))
    counts.step(places, rolled.exceptions.cumsum(), where="post", color=_LOSS, label="exceptions so far")
    counts.plot(places, [rate * (n + 1) for n in range(len(places))], color=_CALM, label=f"promised: {rate:g} a period")
    counts.set(xlabel="return", ylabel="count")
    counts.legend(loc="upper left")
    _save(figure, path)


def _day_by_day(axes: Any, rolled: Rolled, first: int) -> None:
    places = list(range(first + 1, first + 1 + len(rolled.returns)))
    beyond = rolled.exceptions
    axes.plot(places, 100 * rolled.returns, color=_PALE, linewidth=0.6, label="return")
    axes.plot(places, -100 * rolled.var, color=_LOSS, linewidth=0.9, label="value at risk told before")
    axes.plot(places, -100 * rolled.es, color=_DEEP, linewidth=0.6, linestyle="--", label="expected shortfall")
    at = [place for place, over in zip(places, beyond.tolist(), strict=True) if over]
    axes.plot(at, 100 * rolled.returns[beyond], "x", color=_LOSS, markersize=4, label=f"{len(at)} exceptions")
    axes.set(xlabel="return", ylabel="%", title="one period ahead")
    axes.legend(loc="lower left", ncols=4)


def _heat_map(figure: Any, axes: Any, names: Sequence[str], correlations: Floats) -> None:
    image = axes.imshow(correlations, vmin=-1, vmax=1, cmap="RdBu_r")
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_title("correlations")
    if len(names) <= _FEW:
        for row, line in enumerate(correlations.tolist()):
            for column, value in enumerate(line):
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7)
    figure.colorbar(image, ax=axes)


def _figure(width: float, height: float) -> Any:
    """Return an empty figure of so many inches with a canvas in memory."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path) -> None:
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise Misuse(f"{path}: cannot be written ({error.strerror}); name a file in a writable folder") from error
