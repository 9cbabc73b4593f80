"""Figures: each function takes arrays or a table and returns a matplotlib figure."""

from __future__ import annotations

import textwrap
from itertools import cycle
from typing import TYPE_CHECKING

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, ScalarFormatter

if TYPE_CHECKING:
    import pandas as pd

STYLE = "studies.style"
BEFORE, AFTER = "#0173B2", "#DE8F05"  # the first two of its colours
SETS = {"audiocaps": "AudioCaps-Eval", "clotho": "Clotho-Eval"}

_in_style = matplotlib.style.context(STYLE)


@_in_style
def captioned(samples: np.ndarray, rate: int, heard: pd.DataFrame, prompt: str, caption: str, title: str) -> Figure:
    """A recording, what is heard in it over time, the prompt that comes of it, and the caption.

    Args:
        samples: array, shape = (n,), full scale 1, at `rate` Hz.
        heard: as `studies.recordings.heard` returns it.
        title: the recording's name.
    """
    figure = Figure(figsize=(11, 5), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(3, 2))
    bands, names = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[1, 0])
    _bands(bands, samples, rate)
    bands.set(title=title, xlabel="")
    bands.tick_params(labelbottom=False)
    edges = [0, *(heard.index[1:] + heard.index[:-1]) / 2, len(samples) / rate]
    rows = np.arange(len(heard.columns) + 1)
    drawn = names.pcolormesh(edges, rows, heard.to_numpy().T, vmin=0, vmax=1, cmap="viridis")
    names.set(xlim=bands.get_xlim(), xlabel="time (s)", title="heard: names by their probability")
    names.set_yticks(rows[:-1] + 0.5, [textwrap.shorten(name, 26, placeholder=" ...") for name in heard.columns])
    names.invert_yaxis()
    figure.colorbar(drawn, ax=names, ticks=(0, 0.5, 1))
    said = figure.add_subplot(grid[:, 1])
    said.set_axis_off()
    lines = [part for line in prompt.splitlines() for part in textwrap.wrap(line, 50, subsequent_indent="  ")]
    said.text(0, 1, "prompt", va="top", weight="bold")
    said.text(0, 0.94, "\n".join(lines), va="top", linespacing=1.4)
    below = 0.88 - 0.046 * len(lines)
    said.text(0, below, "caption", va="top", weight="bold")
    said.text(0, below - 0.06, textwrap.fill(caption, 50), va="top", color=BEFORE, linespacing=1.4)
    return figure


@_in_style
def recording(samples: np.ndarray, rate: int, title: str) -> Figure:
    """Waveform and spectrogram of samples, shape (n,), full scale 1, at `rate` Hz."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    wave, bands = figure.subplots(2, 1, height_ratios=(1, 2))
    _sound(wave, bands, samples, rate, title)
    return figure


def _sound(wave, bands, samples: np.ndarray, rate: int, title: str) -> None:
    wave.plot(np.arange(len(samples)) / rate, samples, linewidth=0.4, color="0.3")
    wave.set(title=title, xlim=(0, len(samples) / rate), ylabel="amplitude")
    wave.tick_params(labelbottom=False)
    _bands(bands, samples, rate)


def _bands(axes, samples: np.ndarray, rate: int) -> None:
    from scipy.signal import spectrogram

    frequencies, times, power = spectrogram(samples, rate, nperseg=1024, noverlap=512)
    level = 10 * np.log10(power + 1e-12)
    axes.pcolormesh(times, frequencies / 1000, level, vmin=level.max() - 80, cmap="magma", rasterized=True)
    axes.set(xlim=(0, len(samples) / rate), xlabel="time (s)", ylabel="frequency (kHz)")


@_in_style
def measures(table: pd.DataFrame, names: dict[str, str], title: str) -> Figure:
    """Values with 95 % intervals, a panel for each measure and a line for each row; published ones as diamonds.

    Args:
        table: as `studies.papers.paper` returns it; rows without a value are left out.
        names: which measures, and what the axis calls them.
    """
    rows = list(dict.fromkeys(table["row"]))
    figure = Figure(figsize=(2.6 + 2.6 * len(names), 1.1 + 0.35 * len(rows)), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(names), sharey=True))
    for panel, (measure, name) in zip(panels, names.items(), strict=True):
        of = table[table["measure"] == measure].set_index("row")
        places = [rows.index(row) for row in of.index]
        low, high = of["low"].fillna(of["value"]), of["high"].fillna(of["value"])
        panel.errorbar(
            of["value"],
            places,
            xerr=[(of["value"] - low).clip(lower=0), (high - of["value"]).clip(lower=0)],
            fmt="o",
            color=BEFORE,
        )
        published = of["published"].astype(float).to_numpy()
        if not np.isnan(published).all():
            panel.plot(
                published, places, "D", color=AFTER, markerfacecolor="none", label="published: other networks and clips"
            )
            panel.legend(loc="lower center", bbox_to_anchor=(0.5, 1), fontsize="small")
        panel.set(xlabel=_with_n(name, of), yticks=range(len(rows)), yticklabels=rows)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    _entitle(figure, title)
    return figure


def summary(table: pd.DataFrame, by: str, names: dict[str, str], title: str) -> Figure:
    """As `measures`, of a table as `studies.tables.summary` returns it.

    Args:
        by: the column whose values are the lines.
    """
    import pandas as pd

    ends = {"value": "", "low": "_low", "high": "_high"}
    rows = [
        {"row": line[by], "measure": name, "n": line["clips"], "published": None}
        | {end: line[name + suffix] for end, suffix in ends.items()}
        for name in names
        for line in table.to_dict("records")
    ]
    return measures(pd.DataFrame(rows), names, title)


@_in_style
def sweep(table: pd.DataFrame, names: dict[str, str], xlabel: str, title: str) -> Figure:
    """Values with 95 % intervals over a number, a panel for each measure.

    Args:
        table: as of `measures`; its rows are numbers.
        names: as of `measures`.
    """
    figure = Figure(figsize=(3.1 * len(names), 3), layout="constrained")
    for panel, (measure, name) in zip(np.atleast_1d(figure.subplots(1, len(names))), names.items(), strict=True):
        of = table[table["measure"] == measure]
        x = of["row"].astype(float)
        panel.plot(x, of["value"], marker="o", color=BEFORE)
        panel.fill_between(x, of["low"].astype(float), of["high"].astype(float), color=BEFORE, alpha=0.2, linewidth=0)
        panel.set(xlabel=xlabel, ylabel=_with_n(name, of))
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=bool((x == x.round()).all())))
    _entitle(figure, title)
    return figure


@_in_style
def training(history: pd.DataFrame, names: dict[str, str], ylabel: str, title: str, yscale: str = "linear") -> Figure:
    """The loss of a training and what it reached on held-out data, over its steps.

    Args:
        history: as `studies.training.fit` returns it.
        names: its columns, and what the legend calls them.
    """
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(history["step"], history["loss"], color="0.3")
    left.set(xlabel="step", ylabel="training loss")
    for (column, name), marker in zip(names.items(), cycle("osD^vXP"), strict=False):
        right.plot(history["step"], history[column], marker=marker, markersize=4, label=name)
    right.set(xlabel="step", ylabel=ylabel, yscale=yscale)
    if yscale == "log":  # 200, not 2 x 10^2
        right.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        right.yaxis.set_major_formatter(ScalarFormatter())
        right.minorticks_off()
    right.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    _entitle(figure, title)
    return figure


def _entitle(figure: Figure, title: str) -> None:
    figure.suptitle(textwrap.fill(title, int(11 * figure.get_figwidth())))


def _with_n(name: str, rows: pd.DataFrame) -> str:
    number = "" if rows["n"].isna().all() else f" (n\xa0=\xa0{rows['n'].max():.0f})"  # not to be broken
    return textwrap.fill(name + number, 22)


@_in_style
def cost_growth(table: pd.DataFrame) -> Figure:
    """Seconds over what a caption costs, a panel for each option, both axes logarithmic: medians, least and most.

    Args:
        table: data/results/cost_growth.csv, with `option`, `value` and `seconds`, a row for each time that it was
            measured.
    """
    times = table.groupby(["option", "value"]).size().min()
    measured = f"median of {times}, least and most" if times > 1 else "measured once"
    figure = Figure(figsize=(3 * table["option"].nunique(), 2.8), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, table["option"].nunique()))
    for panel, (option, group) in zip(panels, table.groupby("option", sort=False), strict=True):
        spread = group.groupby("value")["seconds"].agg(["median", "min", "max"]).reset_index()
        errors = [spread["median"] - spread["min"], spread["max"] - spread["median"]]
        panel.errorbar(spread["value"], spread["median"], yerr=errors, fmt="o-", color=BEFORE, label=measured)
        slope = spread["median"].iloc[0] / spread["value"].iloc[0]
        panel.plot(spread["value"], slope * spread["value"], ":", color="grey", label="in proportion")
        panel.set(xlabel=option, xscale="log", yscale="log")
        panel.set_ylabel("seconds, all clips" if option == "clips" else "seconds a caption")
        panel.set_xticks(spread["value"], [f"{value:g}" for value in spread["value"]])
        low, high = panel.get_ylim()
        ticks = [mantissa * 10.0**power for power in range(-3, 4) for mantissa in (1, 2, 5)]
        panel.set_yticks([tick for tick in ticks if low <= tick <= high])
        panel.minorticks_off()
        panel.yaxis.set_major_formatter("{x:g}")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


@_in_style
def metric_agreement(table: pd.DataFrame, published: dict[str, float]) -> Figure:
    """How often metrics prefer the caption that people prefer, a panel for each set of judgements.

    Args:
        table: data/results/metric_agreement.csv, of category `total`.
        published: FENSE's agreement on each set.
    """
    from .papers import NAMES

    called = NAMES | {"sbert_sim": "sentence embeddings"}
    called |= {f"sounds_{which}": f"sounds {which}" for which in ("missed", "invented")}
    figure = Figure(figsize=(10, 3.5), layout="constrained")
    order = table.groupby("metric")["agreement"].mean().sort_values().index
    names = [called.get(metric, metric) for metric in order]
    for panel, (name, rows) in zip(figure.subplots(1, 2, sharey=True), table.groupby("data"), strict=True):
        rows = rows.set_index("metric").loc[order]
        errors = [rows["agreement"] - rows["low"], rows["high"] - rows["agreement"]]
        panel.errorbar(rows["agreement"], names, xerr=errors, fmt="o", color=BEFORE)
        panel.axvline(published[name], color="0.4", linestyle="--", label="FENSE, published")
        panel.axvline(0.5, color="0.7", linestyle=":", label="guessing")
        title = f"{SETS.get(name, name)}: {rows['pairs'].min():,} pairs,\none annotator {rows['pairs'].max():,} votes"
        panel.set(xlabel="share of pairs in which the metric\nprefers what people prefer", title=title)
    figure.legend(*panel.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure
