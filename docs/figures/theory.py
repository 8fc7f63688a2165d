"""Every number and figure of `docs/theory.md`.

    python docs/figures/theory.py

prints the tables and writes `theory_bounds.png`, `theory_remedies.png` and `theory_page.png` beside
this file. Nothing is random but the noise of the last table, which has fixed keys.
"""

import dataclasses
import itertools
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

from contrastive_jax import theory
from contrastive_jax.reporting import theory_figures as figures
from contrastive_jax.reporting.style import BLUE, GREEN, NAVY
from contrastive_jax.theory.error_bounds import difficult_fraction, easy_fraction

FOLDER = Path(__file__).parent
STRUCTURES = ('block', 'matched')
COLOURS = {'block': BLUE, 'matched': NAVY, 'removal': GREEN}
EXAMPLE = theory.SimilarityModel(4, 20, 4, 0.6, 0.1, 0.35)
# Equal numbers come out of different arithmetic; eigenvalues are at least 1e-7 in the sweep.
ROUNDING = 1e-13


def show_example():
    """The checked example of the paper: fractions, eigenvalues, bounds, conditions."""
    print('# Example', EXAMPLE)
    print(f'printed: 3.3 {easy_fraction(EXAMPLE):.5f}, 3.4 {difficult_fraction(EXAMPLE):.5f}')
    for k in (4, 5, 7):
        print(f'delta = 0.1, k = {k}: printed, block, matched')
        for name, bound in theory.bounds(EXAMPLE, 0.1, k)._asdict().items():
            print(f'  {name:18s}', *(f'{value:.5f}' for value in bound))
    print(theory.conditions(EXAMPLE, 4))


def swept_models():
    """A full grid of the six parameters, with at least two easy samples a class."""
    for r, n, alpha, beta, gap in itertools.product(
        (1, 3, 9, 99),
        (10, 30, 100, 1000, 5000),
        (0.2, 0.4, 0.5, 0.6, 0.8, 0.95),
        (0.0, 0.05, 0.2, 0.5, 0.8),  # of alpha
        (0.1, 0.5, 0.9),  # of alpha - beta
    ):
        low = alpha * beta
        gamma = low + gap * (alpha - low)
        for n_d in sorted({1, 2, 3, *(round(share * n) for share in (0.1, 0.3, 0.5, 0.8))}):
            yield theory.SimilarityModel(r + 1, n, n_d, alpha, low, gamma)


def first_k(fraction: float, exact: theory.Spectrum) -> int:
    """The smallest k from which on `lambda_{k+1} <= fraction`: the eigenvalues only fall with k."""
    return int(exact.multiplicities[exact.values > fraction + ROUNDING].sum())


def printed_and_exact(model: theory.SimilarityModel, structure: theory.Structure) -> dict:
    """For each result what it prints for lambda_{k+1}, and the spectrum it should bound."""
    easy, left = model.without_difficult(), model.removed(model.difficult_per_class)
    margin = theory.optimal_margin(model, structure)
    treated = theory.treated_spectrum(model, structure, margin=margin)
    # Theorem 4.5 prints a weight w; 4 w / (1 - a/c2) bounds 4 / (1 - lambda) where
    # lambda <= 1 - (1 - a/c2) / w.
    weight = 1 + theory.conditions(model, 1).temperature_helps.value
    return {
        '3.3': (easy_fraction(model), theory.spectrum(easy, structure)),
        '3.4': (difficult_fraction(model), theory.spectrum(model, structure)),
        '4.1': (easy_fraction(left), theory.spectrum(left, structure)),
        '4.3': (easy_fraction(model), treated),
        '4.5': (1 - (1 - easy_fraction(model)) / weight, treated),
    }


def classes_ahead(model: theory.SimilarityModel, structure: theory.Structure) -> bool:
    """Whether the eigenvalues that tell the classes apart come right behind the first."""
    reach = model.alpha + model.other_classes * model.beta
    extra = model.other_classes * (model.gamma - model.beta)
    degree = model.difficult_degree(structure)
    rival = 1 - reach * (
        model.difficult_per_class / model.easy_degree + model.easy_per_class / degree
    )
    if structure == 'matched' and model.difficult_per_class > 1:
        rival = (1 - model.alpha + extra) / degree
    return theory.spectrum(model, structure).eigenvalue(2) > rival + ROUNDING


def derived(model: theory.SimilarityModel, structure: theory.Structure, ahead: bool) -> dict:
    """What the text derives: (result, place among the first, second and last k) -> holds or not."""
    r, n, n_d = model.other_classes, model.samples_per_class, model.difficult_per_class
    rest, level = 1 - model.alpha, model.alpha + r * model.beta
    extra, c2 = r * (model.gamma - model.beta), model.easy_degree
    claims = {('4.3', 0): model.partners(structure) * r * model.beta <= rest + ROUNDING}
    if structure == 'block':
        claims['3.4', 1] = n * level >= (n_d - 1) * rest
        if ahead:
            claims['3.4', 0] = n_d**2 * level >= (n_d - 1) * c2
    elif n_d > 1 and ahead:
        claims['3.4', 0] = False
        claims['3.4', 2] = (
            c2 * (n_d * level - (n_d - 1) * rest) + extra * (n_d**2 * level - (n_d - 1) * c2) >= 0
        )
    return claims


def show_sweep() -> dict:
    """For which structure and k each printed bound is one; returns the shares for the figure."""
    rows, ahead, compared, disagreeing, models = {}, dict.fromkeys(STRUCTURES, 0), 0, 0, 0
    for model in swept_models():
        r, n_d = model.other_classes, model.difficult_per_class
        models += 1
        for structure in STRUCTURES:
            cases = printed_and_exact(model, structure)
            in_front = classes_ahead(model, structure)
            ahead[structure] += in_front
            held = {}
            for result, (fraction, exact) in cases.items():
                first = first_k(fraction, exact)
                held[result] = [first <= k for k in (r + 1, r + 2, r + n_d)]
                rows.setdefault((result, structure, min(n_d, 3)), []).append(held[result])
            for (result, place), claim in derived(model, structure, in_front).items():
                compared += 1
                disagreeing += held[result][place] != claim
    print(f'\n# Sweep: {models} models; share for which the printed bound is an upper bound')
    print('result structure  n_d  models    k=r+1   k=r+2 k=r+n_d')
    for (result, structure, n_d), held in sorted(rows.items()):
        # Theorem 3.4 speaks about n_d values of k.
        shares = ' '.join(f'{share:7.4f}' for share in np.mean(held, axis=0)[:n_d])
        print(
            f'{result}    {structure:8s} {" =" if n_d < 3 else ">="} {n_d} {len(held):7d}  {shares}'
        )
    print('classes ahead:', ahead)
    print(f'derived conditions: {compared} compared, {disagreeing} disagree')
    return {structure: np.mean(rows['3.4', structure, 3], axis=0) for structure in STRUCTURES}


def show_partial_removal():
    """The printed bound falls as difficult samples are added; removing some of them raises it."""
    print('\n# Printed 3.4 and exact lambda at k = r+1 against n_d, example otherwise')
    for n_d in (0, 1, 2, 4, 8, 16):
        model = dataclasses.replace(EXAMPLE, difficult_per_class=n_d)
        exact = (theory.spectrum(model, structure).eigenvalue(5) for structure in STRUCTURES)
        print(f'{n_d:3d} {difficult_fraction(model):.5f}', *(f'{value:.5f}' for value in exact))


def show_remedies():
    """The spectra after each remedy, and lambda_{r+2} under two readings of the margin."""
    print('\n# Spectra after the remedies, example')
    for structure in STRUCTURES:
        margin = theory.optimal_margin(EXAMPLE, structure)
        temperature = theory.optimal_temperature(EXAMPLE, structure)
        print(f'{structure}: m = {margin:.6f}, tau = {temperature:.5f}')
        for name, found in {
            'no difficult': theory.spectrum(EXAMPLE.without_difficult(), structure),
            'kept': theory.spectrum(EXAMPLE, structure),
            'margin': theory.treated_spectrum(EXAMPLE, structure, margin=margin),
            'temperature': theory.treated_spectrum(EXAMPLE, structure, temperature=temperature),
            'removal': theory.spectrum(EXAMPLE.removed(4), structure),
            # The margin as an entry of the normalised graph: sqrt(d_i d_j) too small.
            'm literal': theory.treated_spectrum(
                EXAMPLE, structure, margin=margin / EXAMPLE.difficult_degree(structure)
            ),
        }.items():
            pairs = zip(found.values, found.multiplicities, strict=True)
            print(f'  {name:13s}', ', '.join(f'{value:.5f} x{count}' for value, count in pairs))


def distances(r: int, sizes, difficult_of) -> dict:
    """`lambda_{r+2}` of each graph less `a/c2`, against n; alpha, beta, gamma of the example."""
    found = {}
    for n in sizes:
        model = dataclasses.replace(
            EXAMPLE, num_classes=r + 1, samples_per_class=n, difficult_per_class=difficult_of(n)
        )
        here = {'removal': theory.spectrum(model.removed(difficult_of(n)), 'block')}
        for structure in STRUCTURES:
            margin = theory.optimal_margin(model, structure)
            here[f'kept, {structure}'] = theory.spectrum(model, structure)
            here[f'margin, {structure}'] = theory.treated_spectrum(model, structure, margin=margin)
        for name, exact in here.items():
            found.setdefault(name, []).append(exact.eigenvalue(r + 2) - easy_fraction(model))
    return {name: np.array(values) for name, values in found.items()}


DIFFICULT = {'n_d = 4': lambda n: 4, 'n_d = n/5': lambda n: n // 5}


def show_orders():
    """Powers of n by which the remedied graphs approach the easy one."""
    sizes = [1000 * 2**i for i in range(6)]
    print('\n# lambda_{r+2} - a/c2: slope of log against log n over', sizes)
    for r, (name, difficult_of) in itertools.product((3, 9), DIFFICULT.items()):
        print(f'r = {r}, {name}')
        for graph, values in distances(r, sizes, difficult_of).items():
            if np.max(np.abs(values)) < ROUNDING:
                print(f'  {graph:16s} equal to 1e-13')
            else:
                slope = np.polyfit(np.log(sizes), np.log(np.abs(values)), 1)[0]
                print(f'  {graph:16s} {slope:+.3f}, {values[-1]:+.3e} at n = {sizes[-1]}')


def show_temperature_limit():
    """The largest n_d for which printed E_T < E_wd, against its leading order."""
    print('\n# Temperature: largest n_d that it helps, leading order')
    for n in (20, 100, 1000, 10_000, 100_000, 1_000_000):
        model = dataclasses.replace(EXAMPLE, samples_per_class=n, difficult_per_class=0)
        most = 0
        while theory.conditions(
            dataclasses.replace(model, difficult_per_class=most + 1), 4
        ).temperature_helps.holds:
            most += 1
        print(f'{n:8d} {most:4d} {theory.conditions(model, 4).temperature_reach:8.2f}')


def show_noise():
    """lambda_{r+2} of the noisy graph, mean of five draws, beside the edge of the noise alone."""
    print('\n# Noise: lambda_{r+2} of no difficult, block, matched, mean of 5; 2 eps sqrt(s)/c2')
    for n, eps in itertools.product((20, 200), (0.0, 0.01, 0.05, 0.2)):
        model = dataclasses.replace(EXAMPLE, samples_per_class=n, difficult_per_class=n // 5)
        graphs = ((model.without_difficult(), 'block'), (model, 'block'), (model, 'matched'))
        row = []
        for graph, structure in graphs:
            draws = (
                theory.spectrum(graph, structure, noise=eps, key=jax.random.key(seed))
                for seed in range(5)
            )
            row.append(np.mean([draw.eigenvalue(5) for draw in draws]))
        row.append(2 * eps * np.sqrt(4 * n) / model.easy_degree)
        print(f'{n:4d} {eps:.2f}', *(f'{value:.5f}' for value in row))


def draw_bounds(shares: dict):
    """The spectrum of the example, the shares of the sweep, exact over printed against n."""
    page = Figure(figsize=(14, 4.6), layout='constrained')
    spectrum, bars, ratios = page.subplots(1, 3)
    figures.draw_spectrum(spectrum, EXAMPLE)
    spectrum.set_title('eigenvalues of the example')

    places = np.arange(3)
    for structure, shift in zip(STRUCTURES, (-0.2, 0.2), strict=True):
        heights = 100 * shares[structure]
        drawn = bars.bar(places + shift, heights, 0.4, label=structure, color=COLOURS[structure])
        bars.bar_label(drawn, fmt='%.0f %%', padding=2)
    bars.set_xticks(places, ['$k = r+1$', '$k = r+2$', '$k = r+n_d$'])
    bars.set(ylim=(0, 118), ylabel='% of the swept models with $n_d \\geq 3$')
    bars.set_title('where printed 3.4 is an upper bound')
    bars.legend(loc='upper left', frameon=False)

    sizes = np.unique(np.geomspace(10, 10_000, 40).astype(int) // 5 * 5)
    for structure, label, style in (
        ('block', 'k = r+1', '-'),
        ('block', 'k = r+2', '--'),
        ('matched', 'k = r+1', '-'),
        ('matched', 'k = r+n_d', '--'),
    ):
        values = []
        for n in map(int, sizes):
            model = dataclasses.replace(EXAMPLE, samples_per_class=n, difficult_per_class=n // 5)
            k = {'k = r+1': 4, 'k = r+2': 5, 'k = r+n_d': 3 + n // 5}[label]
            exact = theory.spectrum(model, structure).eigenvalue(k + 1)
            values.append(exact / difficult_fraction(model))
        ratios.plot(sizes, values, style, color=COLOURS[structure], label=f'{structure}, ${label}$')
    ratios.axhline(1, color='0.6', linewidth=1, zorder=0)
    ratios.set(xscale='log', yscale='log', xlabel='samples per class $n$')
    ratios.set_title('exact $\\lambda_{k+1}$ over printed fraction, $n_d = n/5$')
    ratios.legend(frameon=False)
    page.savefig(FOLDER / 'theory_bounds.png', dpi=120)


def draw_remedies():
    """How fast `lambda_{r+2}` of each remedied graph comes near that of the easy one."""
    page = Figure(figsize=(11, 4.6), layout='constrained')
    sizes = [int(n) for n in np.geomspace(20, 20_000, 16).astype(int) // 5 * 5]
    for axes, (name, difficult_of) in zip(page.subplots(1, 2), DIFFICULT.items(), strict=True):
        for graph, values in distances(9, sizes, difficult_of).items():
            axes.plot(
                sizes,
                values,
                '--' if 'kept' in graph else '-',
                color=COLOURS[graph.split(', ')[-1]],
                label=graph,
            )
        axes.set(xscale='log', yscale='log', ylim=(1e-10, 1), xlabel='samples per class $n$')
        axes.set_ylabel(r'$\lambda_{r+2} - (1-\alpha)/c_2$')
        axes.set_title(f'${name}$, $r = 9$')
        axes.legend(frameon=False, loc='lower left')
    page.savefig(FOLDER / 'theory_remedies.png', dpi=120)


def main():
    """Prints and draws everything."""
    show_example()
    shares = show_sweep()
    show_partial_removal()
    show_remedies()
    show_orders()
    show_temperature_limit()
    show_noise()
    draw_bounds(shares)
    draw_remedies()
    figures.figure(EXAMPLE, 0.1, 4).savefig(FOLDER / 'theory_page.png', dpi=100)


if __name__ == '__main__':
    main()
