"""Bounds, conditions and measured similarities as printed text."""

from contrastive_jax import theory
from contrastive_jax.evaluation.similarities import Similarities
from contrastive_jax.reporting.style import BOUND, LIMIT, OPTIMUM

__all__ = ['bounds_text', 'similarities_text']

_BOUNDS = {
    'without_difficult': 'no difficult examples (Thm 3.3)',
    'with_difficult': 'with them (Thm 3.4)',
    'removed': 'removed (Cor 4.1)',
    'margin': 'margin (Thm 4.3)',
    'temperature': 'temperature (Thm 4.5)',
}


def bounds_text(model: theory.SimilarityModel, labelling_error: float, feature_dim: int) -> str:
    """The table of bounds, the conditions, the optimal margin and the optimal temperature."""
    bounds = theory.bounds(model, labelling_error, feature_dim)
    conditions = theory.conditions(model, feature_dim)
    lines = [
        f'n = {model.samples_per_class} samples a class, {model.difficult_per_class} of them '
        'difficult; the optimal margin and the limit for the temperature depend on n',
        f'{"bound on the error":34} {"printed":>9}  {"block":>9}  {"matched":>9}',
    ]
    vacuous = False
    for name, title in _BOUNDS.items():
        values = getattr(bounds, name)
        vacuous |= max(values) >= 1
        # No error rate is above 1.
        cells = (f'{value:9{BOUND}}{"*" if value >= 1 else " "}' for value in values)
        lines.append(f'{title:34} {" ".join(cells)}'.rstrip())
    reach = f'{conditions.temperature_reach:{LIMIT}}'
    lines += [
        *(['* 1 or more: says nothing about an error rate'] if vacuous else []),
        '',
        'block, matched: 4 delta / (1 - lambda) + 8 delta with the exact eigenvalue k + 1 of the '
        'graph',
        f'Theorem 3.4 speaks about this k: {_yes(conditions.in_range)}',
    ]
    if not model.difficult_per_class:
        lines.append('removal and temperature scaling help: no, because no sample is difficult')
    else:
        lines += [
            f'removal helps: {_sides(conditions.removal_helps, "above")}',
            f'temperature scaling helps: {_sides(conditions.temperature_helps, "below")}',
            f'  to leading order: up to {reach} difficult samples a class',
            f'optimal margin (Thm 4.3): {theory.optimal_margin(model):{OPTIMUM}}',
            f'optimal temperature (Thm 4.5): {theory.optimal_temperature(model):{OPTIMUM}}',
        ]
    return '\n'.join(lines)


def _yes(holds: bool) -> str:
    return 'yes' if holds else 'no'


def _sides(condition: theory.Condition, relation: str) -> str:
    value, limit = f'{condition.value:{LIMIT}}', f'{condition.limit:{LIMIT}}'
    return f'{_yes(condition.holds)} ({value} must be {relation} {limit})'


def similarities_text(measured: Similarities) -> str:
    """The estimates with their intervals, and how many classes they stand for."""
    lines = [measured.title]
    for name, estimate in measured.estimates.items():
        values = (
            f'{field} {value.value:{BOUND}} [{value.low:{BOUND}}, {value.high:{BOUND}}]'
            for field, value in estimate._asdict().items()
            if isinstance(value, theory.Interval)
        )
        lines.append(f'{name}: ' + ', '.join(values))
        if estimate.message:
            lines.append(f'  beware: {estimate.message}')
    labelled = len(measured.estimates) > 1
    origin = 'by label' if labelled else f'for pos_high={measured.pos_high}'
    return '\n'.join([*lines, f'classes: {measured.num_classes}, {origin}'])
