import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from contrastive_jax.reporting import style

# Linear RGB as it is seen without one kind of cones: Machado, Oliveira and Fernandes, "A
# physiologically-based model for simulation of color vision deficiency", 2009.
VISION = {
    'normal': np.eye(3),
    'protanopia': [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    'deuteranopia': [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    'tritanopia': [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = np.array(
    [[0.412456, 0.357576, 0.180438], [0.212673, 0.715152, 0.072175], [0.019334, 0.119192, 0.950304]]
)
WHITE = XYZ.sum(axis=1)


def linear(colour):
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    ratio = XYZ @ np.clip(rgb, 0, 1) / WHITE
    x, y, z = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(first, second):
    """As WCAG defines it, which asks for 3 between a line and its background."""
    darker, lighter = sorted(XYZ[1] @ linear(colour) + 0.05 for colour in (first, second))
    return lighter / darker


@pytest.mark.parametrize('vision', VISION)
@pytest.mark.parametrize('palette', [style.LIGHT, style.DARK], ids=['light', 'dark'])
def test_two_colours_of_a_palette_stay_apart(palette, vision):
    seen = [lab(np.array(VISION[vision]) @ linear(colour)) for colour in palette]
    distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)]
    # A difference of 2 is just visible in two areas that touch.
    assert min(distances) > 15


@pytest.mark.parametrize(
    ('palette', 'ground'),
    list(zip((style.LIGHT, style.DARK), style.PAGE['ground'], strict=True)),
    ids=['light', 'dark'],
)
def test_every_colour_stands_out_from_the_page(palette, ground):
    assert min(contrast(colour, ground) for colour in palette) > 3


def test_words_can_be_read_on_the_page():
    for side in (0, 1):
        ground = style.PAGE['ground'][side]
        for words in ('ink', 'faint', 'link'):
            assert contrast(style.PAGE[words][side], ground) > 4.5
        assert contrast(style.NEUTRAL, ground) > 3


def test_no_page_has_a_colour_or_font_of_its_own():
    folder = Path(style.__file__).parent
    for file in (*folder.rglob('*.css'), *folder.rglob('*.js')):
        assert not re.findall(r'#[0-9a-f]{3,8}\b|sans-serif|toFixed\(\d', file.read_text()), file


def test_formats_for_bokeh_have_as_many_digits():
    assert style.pattern(style.PERCENT) == '0.00'
    assert style.pattern(style.SCORE) == '0.000'


def test_lines_of_equal_colours_have_different_dashes():
    assert len(set(style.DASHES)) == len(style.DASHES)
    assert len(style.LIGHT) == len(style.DARK) == 8


def test_a_figure_that_cannot_be_written_leaves_the_earlier_one(tmp_path):
    path = tmp_path / 'figure.PNG'
    style.save(Figure(), path)
    before = path.read_bytes()
    assert before.startswith(b'\x89PNG')

    class Broken(Figure):
        def savefig(self, file, **options):
            file.write(b'half')
            raise OSError('disk full')

    with pytest.raises(OSError, match='disk full'):
        style.save(Broken(), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ['figure.PNG']
