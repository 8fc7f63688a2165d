"""Figures of the bounds and of the spectrum.

Solid lines are bounds as the paper prints them, broken lines are exact values. Theorem 3.4 is drawn
only where it applies, `r+1 <= k < n_d+r+1`. Bounds above 1 lie in a shaded area.

Axes: p points along the abscissa.
"""

import dataclasses
from collections.abc import Sequence

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from contrastive_jax.reporting.style import (
    BLUE,
    FIGURE,
    GREEN,
    GUIDE,
    NAVY,
    ORANGE,
    PARAMETER,
    PURPLE,
    QUIET,
    SHADE,
    TAUPE,
)
from contrastive_jax.theory.error_bounds import (
    bounds,
    conditions,
    difficult_fraction,
    easy_fraction,
)
from contrastive_jax.theory.model import SimilarityModel, Structure
from contrastive_jax.theory.spectra import spectrum

__all__ = [
    'draw_against_difficult',
    'draw_against_gap',
    'draw_against_removal',
    'draw_spectrum',
    'figure',
]

_PRINTED = (
    ('without_difficult', 'without difficult (3.3)', TAUPE),
    ('with_difficult', 'with difficult (3.4)', ORANGE),
    ('removed', 'removed (4.1)', GREEN),
    ('temperature', 'temperature (4.5)', PURPLE),
)
_EXACT: tuple[tuple[Structure, str, str], ...] = (('block', BLUE, '--'), ('matched', NAVY, '-.'))

_KINDS = tuple(kind for kind, _, _ in _PRINTED)


def draw_against_gap(
    axes: Axes, model: SimilarityModel, labelling_error: float, feature_dim: int
) -> None:
    """Bounds against `gamma - beta`, from near 0 to near `alpha - beta`."""
    gaps = (model.alpha - model.beta) * np.linspace(0.01, 0.99, 60)
    models = [dataclasses.replace(model, gamma=model.beta + float(gap)) for gap in gaps]
    _draw_bounds(axes, gaps, models, labelling_error, feature_dim)
    axes.axvline(model.gamma - model.beta, color=GUIDE, zorder=0)
    axes.set_xlabel(r'$\gamma - \beta$')


def draw_against_difficult(
    axes: Axes, model: SimilarityModel, labelling_error: float, feature_dim: int
) -> None:
    """Bounds against the difficult samples of a class, from none to all but one."""
    counts = np.unique(np.linspace(0, model.samples_per_class - 1, 60, dtype=int))
    models = [dataclasses.replace(model, difficult_per_class=int(count)) for count in counts]
    _draw_bounds(axes, counts, models, labelling_error, feature_dim)
    axes.axvline(model.difficult_per_class, color=GUIDE, zorder=0)
    axes.set_xlabel(r'difficult samples per class $n_d$')


def draw_against_removal(
    axes: Axes, model: SimilarityModel, labelling_error: float, feature_dim: int
) -> None:
    """Bounds against the share of each class that is removed, difficult samples first.

    Past `n_d / n` easy samples go, and the bound rises again.
    """
    n = model.samples_per_class
    # Exact values need more than k samples.
    most = n - feature_dim // model.num_classes - 1
    counts = np.unique(np.linspace(0, min(most, 0.9 * n), 60, dtype=int))
    models = [model.removed(int(count)) for count in counts]
    _draw_bounds(axes, counts / n, models, labelling_error, feature_dim, kinds=['with_difficult'])
    axes.axvline(model.difficult_per_class / n, color=GUIDE, zorder=0)
    axes.set_xlabel('share of each class removed, difficult first')


def draw_spectrum(axes: Axes, model: SimilarityModel) -> None:
    """Positive eigenvalues of both structures, with the printed fractions as lines."""
    r, n_d = model.other_classes, model.difficult_per_class
    for structure, colour, style in _EXACT:
        values, multiplicities = spectrum(model, structure)
        positive = values > 0
        edges = 0.5 + np.append(0, np.cumsum(multiplicities[positive]))
        axes.stairs(
            values[positive], edges, baseline=None, color=colour, linestyle=style,
            linewidth=1.5, label=f'exact, {structure}',
        )  # fmt: skip
    # A printed fraction stands for lambda_{k+1}: over the indices k + 1 of its theorem.
    samples = model.num_classes * model.samples_per_class
    axes.hlines(
        easy_fraction(model), r + 1.5, samples + 0.5, color=TAUPE, linewidth=1,
        label='printed, without difficult (3.3)',
    )  # fmt: skip
    axes.hlines(
        difficult_fraction(model), r + 1.5, r + n_d + 1.5, color=ORANGE, linewidth=3,
        label='printed, with difficult (3.4)',
    )  # fmt: skip
    axes.set(xscale='log', yscale='log', xlabel='index of the eigenvalue', ylabel=r'$\lambda$')
    axes.legend(fontsize='small')


@matplotlib.rc_context(FIGURE)
def figure(model: SimilarityModel, labelling_error: float, feature_dim: int) -> Figure:
    """All four pictures on one page."""
    page = Figure(figsize=(11, 9), layout='constrained')
    (gap, difficult), (removal, eigenvalues) = page.subplots(2, 2)
    draw_against_gap(gap, model, labelling_error, feature_dim)
    draw_against_difficult(difficult, model, labelling_error, feature_dim)
    draw_against_removal(removal, model, labelling_error, feature_dim)
    draw_spectrum(eigenvalues, model)
    for axes in (gap, difficult, removal):
        axes.set_ylabel('bound on the error')
    # One legend below the three, because inside it would hide the curves.
    page.legend(*gap.get_legend_handles_labels(), loc='outside lower center', ncols=3)
    page.suptitle(
        rf'$r+1={model.num_classes}$, $n={model.samples_per_class}$, '
        rf'$n_d={model.difficult_per_class}$, $\alpha={model.alpha:{PARAMETER}}$, '
        rf'$\beta={model.beta:{PARAMETER}}$, $\gamma={model.gamma:{PARAMETER}}$, '
        rf'$\delta={labelling_error:{PARAMETER}}$, $k={feature_dim}$'
    )
    return page


def _draw_bounds(
    axes: Axes,
    points: Sequence[float] | np.ndarray,
    models: Sequence[SimilarityModel],
    labelling_error: float,
    feature_dim: int,
    kinds: Sequence[str] = _KINDS,
) -> None:
    """One curve for each printed bound, and the exact ones with difficult samples."""
    results = [bounds(model, labelling_error, feature_dim) for model in models]
    applies = [
        not model.difficult_per_class or conditions(model, feature_dim).in_range for model in models
    ]
    marker = 'o' if len(points) == 1 else None  # which is no line
    for kind, label, colour in _PRINTED:
        if kind in kinds:
            values = _finite([getattr(one, kind).printed for one in results])
            if kind == 'with_difficult':
                values[~np.array(applies)] = np.nan
            axes.plot(points, values, color=colour, marker=marker, label=f'printed, {label}')
    exact = []
    for structure, colour, style in _EXACT:
        exact.append(_finite([getattr(one.with_difficult, structure) for one in results]))
        label = f'exact, with difficult, {structure}'
        axes.plot(points, exact[-1], style, color=colour, marker=marker, label=label)
    # The bound with a temperature is far above the others, so the axis does not show all of it.
    if not np.all(np.isnan(exact)):
        low, high = np.nanmin(exact), np.nanmax(exact)
        room = 0.1 * (high - low) or 0.1
        axes.set_ylim(low - room, high + 4 * room)
    # Grid lines would look like the line that marks the model.
    axes.grid(visible=False)
    _shade_above_one(axes)


def _shade_above_one(axes: Axes) -> None:
    """Shades where a bound says nothing, since no error rate is above 1."""
    low, high = axes.get_ylim()
    if high > 1:
        axes.axhspan(1, high, color=SHADE, zorder=0)
        axes.set_ylim(low, high)
        axes.text(
            0.98, max(low, 1), 'above 1: says nothing', transform=axes.get_yaxis_transform(),
            fontsize='small', color=QUIET, ha='right', va='bottom',
        )  # fmt: skip


def _finite(values: Sequence[float]) -> Float[np.ndarray, ' p']:
    """The values with NaN, which is not drawn, in place of `inf`."""
    return np.where(np.isfinite(values), values, np.nan)
