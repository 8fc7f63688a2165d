import dataclasses

import numpy as np
import pytest
from matplotlib.figure import Figure

from contrastive_jax.reporting import theory_figures as figures
from contrastive_jax.theory import bounds
from tests.theory.models import EXAMPLE


def lines(axes):
    return {line.get_label(): line.get_xydata() for line in axes.get_lines()}


def test_curves_are_the_bounds():
    axes = Figure().subplots()
    figures.draw_against_difficult(axes, EXAMPLE, 0.1, 4)
    drawn = lines(axes)
    for n_d in (0, 1, 4, 19):
        found = bounds(dataclasses.replace(EXAMPLE, difficult_per_class=n_d), 0.1, 4)
        for label, value in (
            ('printed, with difficult (3.4)', found.with_difficult.printed),
            ('exact, with difficult, block', found.with_difficult.block),
            ('exact, with difficult, matched', found.with_difficult.matched),
            ('printed, removed (4.1)', found.removed.printed),
        ):
            np.testing.assert_array_equal(drawn[label][n_d], (n_d, value))


def test_theorem_is_drawn_where_it_is_stated():
    axes = Figure().subplots()
    figures.draw_against_difficult(axes, EXAMPLE, 0.1, 7)
    x, y = lines(axes)['printed, with difficult (3.4)'].T
    # k = 7 < n_d + 4, or no difficult samples at all.
    np.testing.assert_array_equal(np.isfinite(y), (x == 0) | (x > 3))


def test_removal_meets_the_corollary_at_the_difficult_share():
    axes = Figure().subplots()
    figures.draw_against_removal(axes, EXAMPLE, 0.1, 4)
    x, y = lines(axes)['printed, with difficult (3.4)'].T
    assert y[x == 0.2][0] == pytest.approx(bounds(EXAMPLE, 0.1, 4).removed.printed, rel=1e-12)


@pytest.mark.parametrize(
    ('draw', 'place'),
    [
        (figures.draw_against_gap, EXAMPLE.gamma - EXAMPLE.beta),
        (figures.draw_against_difficult, EXAMPLE.difficult_per_class),
        (figures.draw_against_removal, EXAMPLE.difficult_per_class / EXAMPLE.samples_per_class),
    ],
)
def test_a_line_marks_the_model(draw, place):
    axes = Figure().subplots()
    draw(axes, EXAMPLE, 0.1, 4)
    marks = [x for label, ((x, _), *_) in lines(axes).items() if label.startswith('_')]
    assert marks == [pytest.approx(place)]


def test_a_printed_fraction_covers_the_indices_of_its_theorem():
    axes = Figure().subplots()
    figures.draw_spectrum(axes, EXAMPLE)
    ends = [drawn.get_segments()[0][:, 0].tolist() for drawn in axes.collections]
    # Indices k + 1, from 5 to 80 and from 5 to 8.
    assert ends == [[4.5, 80.5], [4.5, 8.5]]


@pytest.mark.parametrize('field', [{}, {'beta': 0.0}, {'difficult_per_class': 0}])
@pytest.mark.parametrize(('delta', 'k'), [(0.1, 4), (0.0, 1), (0.1, 79)])
def test_page_draws_at_the_edges(field, delta, k):
    page = figures.figure(dataclasses.replace(EXAMPLE, **field), delta, k)
    page.canvas.draw()
    assert len(page.axes) == 4


@pytest.mark.parametrize(('delta', 'marked'), [(0.01, False), (0.1, True), (0.9, True)])
def test_bounds_above_one_are_marked_as_saying_nothing(delta, marked):
    page = figures.figure(EXAMPLE, delta, 4)
    for axes in page.axes[:3]:
        low, high = axes.get_ylim()
        assert (high > 1) == marked
        assert [patch.get_y() for patch in axes.patches] == ([1] if marked else [])
        assert [text.get_text() for text in axes.texts] == (
            ['above 1: says nothing'] if marked else []
        )
        # The field does not move the limits, also where all curves lie in it.
        assert not marked or axes.patches[0].get_height() == pytest.approx(high - 1)
        assert low < high
