"""One plot a case, as SVG. Needs matplotlib (the `bench` extra); without it the page has tables only.

Touches files.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_OURS, _OTHERS = "#1565c0", "#9e9e9e"


def can_draw() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Horizontal bars: the median of each series, with its least and its most."""
    from matplotlib.figure import Figure  # noqa: PLC0415 -- the optional one

    series: Sequence[Mapping[str, Any]] = [one for one in result["series"] if one["values"]]
    figure = Figure(figsize=(8, 0.6 + 0.45 * len(series)), layout="constrained")
    axes = figure.subplots()
    for place, one in enumerate(reversed(series)):
        middle, spread = one["median"], ([one["median"] - min(one["values"])], [max(one["values"]) - one["median"]])
        axes.barh(place, middle, color=_OURS if "dnsfw" in one["name"] else _OTHERS, xerr=spread, error_kw={"capsize": 3, "lw": 1})
        axes.annotate(f" {middle:,.0f}" if middle >= 100 else f" {middle:.3g}", (middle + spread[1][0], place), va="center", fontsize=9)
    axes.set_yticks(range(len(series)), [one["name"] for one in reversed(series)])
    axes.set_xlabel(", ".join(dict.fromkeys(one["unit"] for one in series)))
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.15)
    figure.savefig(path, format="svg", metadata={"Date": None})
