"""The page, read as text and used in a real browser."""

import csv

import numpy as np
import pytest

from contrastive_jax.graph.verdicts import VERDICTS
from contrastive_jax.reporting.atlas.content import Content, ScoreCurves
from contrastive_jax.reporting.atlas.page import atlas_page
from contrastive_jax.reporting.style import DARK, FONT, LIGHT
from tests.marks import in_ci
from tests.reporting.browsing import set_theme

N = 40
MARKUP = '<img src=x onerror="document.title=1"></script><script>document.title=2</script>'


def _content(**changes) -> Content:
    rng = np.random.default_rng(0)
    score = (np.arange(N) + 0.5) / N
    rows = (np.arange(N)[:, None] + np.arange(1, 5)) % N
    content = Content(
        title='forty samples',
        index=np.arange(N) + 100,
        place=rng.normal(size=(N, 2)),
        map_name='PCA',
        numbers={
            'score': score,
            **{name: rng.normal(size=N) for name in ('alpha', 'beta', 'gamma')},
            'isolation': 3 - 2 * score,
            'outlier_z': np.where(np.arange(N) == 3, np.inf, 1.0),
        },
        verdict=tuple(VERDICTS[row % len(VERDICTS)] for row in range(N)),
        nearest=rows,
        partners=np.where(rows % 3 == 0, -1, rows),
        labels=tuple(f'class {MARKUP}' if row % 2 else 'cat' for row in range(N)),
        files=tuple(f'{row}{MARKUP}.png' for row in range(N)),
        images=rng.integers(0, 255, (N, 8, 8, 3), dtype=np.uint8),
        dynamics=ScoreCurves(np.array([1.0, 2.0]), rng.random((N, 2))),
        notes=(f'A note {MARKUP}.',),
    )
    return content._replace(**changes)


def test_classes_that_are_numbers_are_in_their_order():
    labels = tuple(str(row % 13 - 2) for row in range(N))
    assert _content(labels=labels).classes() == [str(number) for number in range(-2, 11)]
    assert _content(labels=('10', '9', 'cat')).classes() == ['10', '9', 'cat']
    assert _content(labels=None).classes() == []


@pytest.fixture
def opened(open_file, tmp_path):
    def open_page(content, **options):
        path = tmp_path / 'atlas.html'
        path.write_text(atlas_page(content))
        return open_file(path, **options)

    return open_page


def _rows(tab):
    """Indices in the first rows of the table."""
    return [text.split()[0] for text in tab.locator('.slick-row').all_inner_texts()]


def _resting(tab, element):
    """Where an element is once the layout has come to rest."""
    box = element.bounding_box()
    for _ in range(50):
        tab.wait_for_timeout(200)
        before, box = box, element.bounding_box()
        if box == before:
            break
    return box


def _dragged(tab, value, places):
    """What `value` is after the mouse was drawn along places.

    Bokeh takes a button that rests for 300 ms for a press. A busy machine may see the first move
    later than that; a person would then drag once more.
    """
    before = tab.evaluate(value)
    for _ in range(10):
        tab.mouse.move(*places[0])
        tab.mouse.down()
        for place in places[1:]:
            tab.mouse.move(*place, steps=4)
        tab.mouse.up()
        tab.wait_for_timeout(200)
        if tab.evaluate(value) != before:
            break
    return tab.evaluate(value)


def _set(tab, name, field, value):
    tab.evaluate(
        '([name, field, value]) => {Bokeh.documents[0].get_model_by_name(name)[field] = value}',
        [name, field, value],
    )


def test_markup_is_text_and_no_other_script_runs(opened):
    tab = opened(_content())
    assert tab.title() == 'Difficulty atlas'
    assert MARKUP in tab.inner_text('#name')
    assert MARKUP in tab.inner_text('.note')
    assert MARKUP in tab.inner_text('#legend')
    tab.mouse.move(600, 300)
    assert tab.title() == 'Difficulty atlas'


def test_filters_choose_the_rows_of_the_table(opened):
    tab = opened(_content())
    assert _rows(tab)[:3] == ['139', '138', '137']
    _set(tab, 'range', 'value', [0.0, 0.1])
    assert tab.inner_text('#count') == '4 of 40 samples shown, 0 selected'
    assert _rows(tab) == ['103', '102', '101', '100']
    _set(tab, 'verdicts', 'value', ['outlier'])
    assert _rows(tab) == ['102']
    # As many rows as before, but others.
    _set(tab, 'verdicts', 'value', ['easy'])
    assert _rows(tab) == ['100']
    tab.click('#clear')
    assert tab.inner_text('#count') == '40 of 40 samples shown, 0 selected'
    _set(tab, 'classes', 'value', ['cat'])
    assert tab.inner_text('#count') == '20 of 40 samples shown, 0 selected'
    _set(tab, 'text', 'value', '38<IMG')
    assert _rows(tab) == ['138']


def test_samples_without_a_value_are_listed_last(opened):
    looks = np.where(np.arange(N) % 2, np.nan, -1 - np.arange(N) / N)
    tab = opened(_content(numbers=_content().numbers | {'dynamics_last_entry': looks}))
    _set(tab, 'number', 'value', 'dynamics_last_entry')
    assert _rows(tab)[:2] == ['100', '102']
    assert tab.inner_text('#count').startswith('40 of 40 samples')


@pytest.mark.ci
def test_a_brush_over_the_histogram_sets_the_range(opened):
    tab = opened(_content())
    box = _resting(tab, tab.locator('.map .bk-Figure').nth(1))
    middle = box['y'] + box['height'] / 2
    start, stop = (box['x'] + part * box['width'] for part in (0.6, 0.8))
    value = "Bokeh.documents[0].get_model_by_name('range').value"
    low, high = _dragged(tab, value, [(start, middle), (stop, middle)])
    assert 0.5 < low < 0.65
    assert 0.75 < high < 0.9


@pytest.mark.ci
def test_another_number_has_its_own_range_bars_and_column(opened):
    tab = opened(_content())
    _set(tab, 'number', 'value', 'isolation')
    assert _rows(tab)[:2] == ['100', '101']
    assert tab.inner_text('.slick-header-column >> nth=2') == 'isolation'
    low, high = tab.evaluate("Bokeh.documents[0].get_model_by_name('range').value")
    assert (low, high) == pytest.approx((1.025, 2.975))
    tops = tab.evaluate("Array.from(Bokeh.documents[0].get_model_by_name('bars').data.top)")
    assert sum(tops) == N
    _set(tab, 'range', 'value', [2.9, high])
    assert tab.inner_text('#count') == '2 of 40 samples shown, 0 selected'
    # What has no value is shown as long as nothing is asked of it.
    _set(tab, 'number', 'value', 'outlier_z')
    assert tab.inner_text('#count') == '40 of 40 samples shown, 0 selected'
    _set(tab, 'range', 'value', [0.9, 1.1])
    assert tab.inner_text('#count') == '39 of 40 samples shown, 0 selected'


_FONTS = """() => {
  const found = new Set(), visit = (root) => {
    for (const element of root.querySelectorAll('*')) {
      found.add(getComputedStyle(element).fontFamily);
      if (element.shadowRoot) visit(element.shadowRoot);
    }
  };
  visit(document.body);
  return [...found];
}"""


def test_all_words_have_the_font_of_the_page_and_the_bars_its_colour(opened):
    tab = opened(_content(), color_scheme='dark')
    assert tab.evaluate(_FONTS) == [FONT]
    colours = "Array.from(Bokeh.documents[0].get_model_by_name('bars').data.colour)"
    for theme, palette in (('light', LIGHT), ('dark', DARK)):
        set_theme(tab, theme)
        assert set(tab.evaluate(colours)) == {palette[0]}


@pytest.mark.ci
def test_colours_follow_the_choice_and_the_theme(opened):
    tab = opened(_content())
    colours = "Array.from(Bokeh.documents[0].get_model_by_name('source').data.colour)"
    found = {}
    for by in ('class', 'verdict', 'number'):
        _set(tab, 'colour', 'value', by)
        for theme in ('light', 'dark'):
            set_theme(tab, theme)
            found[by, theme] = tab.evaluate(colours)
    assert set(found['class', 'light']) == set(LIGHT[:2])
    assert set(found['class', 'dark']) == set(DARK[:2])
    assert len(set(found['verdict', 'light'])) == len(VERDICTS)
    assert found['number', 'dark'] == found['number', 'light']
    assert len(set(found['number', 'light'])) == N


@pytest.mark.ci
def test_a_click_on_a_heading_sorts(opened):
    tab = opened(_content())
    tab.click('.slick-header-column >> nth=1')
    assert _rows(tab)[:2] == ['100', '101']
    tab.click('.slick-header-column >> nth=1')
    assert _rows(tab)[:2] == ['139', '138']
    # The buttons follow the table.
    tab.click('.slick-header-column >> nth=1')
    tab.locator('.slick-row').first.click()
    assert 'index 100' in tab.inner_text('#name')
    tab.click('#next')
    assert 'index 101' in tab.inner_text('#name')
    tab.click('#previous')
    assert 'index 100' in tab.inner_text('#name')


def test_a_click_on_the_map_opens_the_sample(opened):
    angle = np.linspace(0, 2 * np.pi, N)
    place = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    place[7] = 0
    tab = opened(_content(place=place))
    frame = tab.evaluate(
        """() => {
          const part = Bokeh.documents[0].get_model_by_name('map');
          const view = Bokeh.index.find_one(part);
          const {left, top} = view.el.getBoundingClientRect(), box = view.frame.bbox;
          return [left + box.hcenter, top + box.vcenter];
        }"""
    )
    # The middle of the ring is a little off the middle of the frame.
    tab.mouse.click(*frame)
    assert 'index 107' in tab.inner_text('#name')
    assert tab.inner_text('#count').endswith('1 selected')


@pytest.mark.ci
def test_every_control_has_a_name_and_can_be_reached_by_keyboard(opened):
    tab = opened(_content())
    tree = tab.locator('main').aria_snapshot()
    for name in ('Colour by', 'Number', 'Verdicts (none: all)', 'Text in the file name'):
        assert name in tree
    assert tree.count('slider "') == 2
    tab.focus('#next')
    tab.keyboard.press('Enter')
    tab.keyboard.press('Enter')
    assert 'index 137' in tab.inner_text('#name')
    assert tab.evaluate('document.activeElement.id') == 'next'
    tab.locator('#detail .strip button').first.focus()
    tab.keyboard.press('Enter')
    assert 'index 138' in tab.inner_text('#name')
    assert tab.evaluate('document.activeElement.id') == 'name'


@pytest.mark.ci
def test_a_sample_is_shown_with_its_neighbours_and_one_leads_to_the_next(opened):
    tab = opened(_content())
    assert 'index 139' in tab.inner_text('#name')
    tab.click('#next')
    assert 'index 138' in tab.inner_text('#name')
    tab.click('#previous')
    assert 'index 139' in tab.inner_text('#name')
    assert tab.locator('#detail meter').count() == 6
    assert tab.locator('#detail polyline').count() == 1
    # The nearest of the last row are the first four rows.
    tab.locator('#detail .strip button').first.click()
    assert 'index 100' in tab.inner_text('#name')
    tab.locator('.slick-row').nth(1).click()
    assert 'index 138' in tab.inner_text('#name')


@pytest.mark.ci
def test_a_lasso_selects_and_the_table_is_saved(opened, tmp_path):
    tab = opened(_content())
    box = tab.locator('.map .bk-Figure').first.bounding_box()
    left, top = box['x'] + 20, box['y'] + 60
    right, bottom = box['x'] + box['width'] - 20, box['y'] + box['height'] - 20
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    _dragged(tab, "document.querySelector('#count').textContent", corners)
    assert ' 0 selected' not in tab.inner_text('#count')
    with tab.expect_download() as download:
        tab.click('#export')
    download.value.save_as(tmp_path / 'samples.csv')
    with (tmp_path / 'samples.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    listed = int(tab.evaluate("Bokeh.documents[0].get_model_by_name('rows').data.index.length"))
    assert len(rows) == listed > 5
    row = int(rows[0]['index']) - 100
    assert rows[0]['file'] == f'{row}{MARKUP}.png'


@pytest.mark.ci
def test_hovering_shows_the_thumbnail(opened):
    # All samples in one place, which is the middle of the frame.
    tab = opened(_content(place=np.zeros((N, 2))))
    box = tab.locator('.map .bk-Figure').first.bounding_box()
    tip = tab.locator('.bk-tooltip-content').first
    for step in range(400):
        right, down = 4 * (step % 20) - 40, 4 * (step // 20) - 30
        tab.mouse.move(box['x'] + box['width'] / 2 + right, box['y'] + box['height'] / 2 + down)
        if tip.count():
            break
    assert MARKUP in tip.inner_text()
    picture = tip.locator('div[style*="--sprites"]')
    assert picture.evaluate('e => getComputedStyle(e).backgroundImage').startswith('url("blob:')


@pytest.mark.parametrize(
    'changes',
    [
        {'labels': None, 'files': None, 'images': None, 'dynamics': None},
        {'images': [np.full((3 + row, 2, 1), row, np.uint8) for row in range(N)]},
        # Thumbnails name their scores; a score that is not finite is missing.
        {'numbers': {'score': np.where(np.arange(N) == 3, np.inf, 0.5)}},
        *in_ci(
            {'numbers': {name: np.full(N, 0.5) for name in ('score', 'alpha', 'beta', 'gamma')}},
            {'labels': tuple(str(row) for row in range(N))},
            {'dynamics': None, 'notes': ()},
        ),
    ],
    ids=['bare', 'many sizes', 'infinite score', 'equal scores', 'many classes', 'no dynamics'],
)
def test_whatever_is_missing_or_odd_the_page_opens(changes, opened):
    tab = opened(_content(**changes), color_scheme='dark')
    assert tab.inner_text('#count') == '40 of 40 samples shown, 0 selected'


def test_one_sample_is_a_page_too(opened):
    whole = _content()
    one = {
        name: getattr(whole, name)[:1]
        for name in ('index', 'place', 'verdict', 'labels', 'files', 'images')
    }
    nobody = np.full((1, 1), -1)
    tab = opened(
        whole._replace(
            **one,
            numbers={name: values[:1] for name, values in whole.numbers.items()},
            nearest=nobody,
            partners=nobody,
            dynamics=None,
        )
    )
    assert tab.locator('#detail .strip').count() == 0
    assert tab.inner_text('#count') == '1 of 1 sample shown, 0 selected'


def test_nothing_is_fetched_and_only_own_scripts_may_run():
    text = atlas_page(_content())
    policy = text.partition('http-equiv="Content-Security-Policy" content="')[2].partition('"')[0]
    assert policy.startswith("default-src 'none'")
    assert "script-src 'unsafe-eval' 'sha256-" in policy
    assert "'unsafe-inline' 'sha" not in policy
    assert MARKUP not in text
