import re
from html.parser import HTMLParser

import pytest

from contrastive_jax import report
from contrastive_jax.reporting.style import DARK, LIGHT
from tests.reporting.browsing import set_theme
from tests.reporting.runs import fake_result, read_csv, write_run

EVIL = '<script>alert(1)</script><img src=x onerror="alert(2)">&'
NAME = f'{EVIL} | [x](http://example.org)'


class Elements(HTMLParser):
    """Names, attributes and texts, as a browser would see them."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture
def hostile(runs):
    """A folder, a value, a class and a commit that would like to be more than text."""
    write_run(
        runs / f'{EVIL.replace("/", "")}|\x1b[2J',
        result=fake_result(0.4, 0, removed_by_class={EVIL: 1, 'b': 2}, git_commit=EVIL),
        data__name=NAME,
    )
    return runs


def test_what_comes_from_files_is_shown_as_text(hostile, tmp_path, capsys):
    report.run([str(hostile)], tmp_path / 'out')
    page = (tmp_path / 'out' / 'report.html').read_text()
    found = Elements(page)
    policy = dict(found.attributes)['content']
    allowed = re.findall("'sha256-(.*?)'", policy)
    assert found.tags.count('script') == len(allowed)
    assert "script-src 'sha256-" in policy
    assert "default-src 'none'" in policy
    assert 'img' not in found.tags
    assert not [name for name, _ in found.attributes if name.startswith('on')]
    assert any(EVIL in text for text in found.texts)
    text = (tmp_path / 'out' / 'report.md').read_text()
    assert not re.search(r'<(script|img)|\]\(|\x1b', text + capsys.readouterr().out)
    assert {row['data.name'] for row in read_csv(tmp_path / 'out' / 'report.csv')} == {
        'digits',
        NAME,
    }


def test_the_page_needs_nothing_beside_itself(runs, tmp_path):
    report.run([str(runs)], tmp_path / 'out')
    page = (tmp_path / 'out' / 'report.html').read_text()
    found = Elements(page)
    assert not {'link', 'iframe', 'object', 'image'} & set(found.tags)
    fetched = [v for k, v in found.attributes if k in ('src', 'href', 'xlink:href', 'action')]
    assert all(value.startswith('#') for value in fetched)
    assert '@import' not in page
    ids = [value for name, value in found.attributes if name == 'id']
    assert len(ids) == len(set(ids))
    assert {f'#{name}' for name in ids} >= set(fetched)


def test_numbers_are_marked_to_be_sorted_as_such(runs, tmp_path):
    report.run([str(runs)], tmp_path / 'out')
    page = (tmp_path / 'out' / 'report.html').read_text()
    marked = re.findall(r'data-number="([^"]*)">(60\.00|70\.00) ±', page)
    assert {(float(number), text) for number, text in marked} == {(60, '60.00'), (70, '70.00')}


@pytest.fixture
def opened(hostile, open_file, tmp_path):
    """Writes and opens the report of the hostile runs."""

    def open_page(**options):
        report.run([str(hostile)], tmp_path / 'out')
        return open_file(tmp_path / 'out' / 'report.html', **options)

    return open_page


PARTS = 'Bokeh.documents[0].roots().flatMap((plot) => plot.renderers)'


def place(tab, cell, kind):
    """Where the first point of a kind of mark of a cell is in the first figure."""
    tab.locator('figure').first.scroll_into_view_if_needed()
    return tab.evaluate(
        """([cell, kind]) => {
          const [plot] = Bokeh.documents[0].roots(), view = Bokeh.index.find_one(plot);
          const part = plot.renderers.find(
            ({glyph}) => glyph.tags[0] === cell && glyph.type === kind);
          const data = part.data_source.data, {left, top} = view.el.getBoundingClientRect();
          const [x, y] = kind === 'Segment' ? [data.x0[0], data.y0[0]] : [data.x[0], data.y[0]];
          return [left + view.frame.x_scale.compute(x), top + view.frame.y_scale.compute(y)];
        }""",
        [cell, kind],
    )


@pytest.mark.ci
def test_hovering_tells_cell_seed_value_and_interval(opened):
    tab = opened()
    tip = tab.locator('.bk-tooltip-content').first
    tab.mouse.move(*place(tab, 2, 'Scatter'))
    assert tip.inner_text().split() == f'cell: 3: data.name={NAME} seed: 0 value: 40.00'.split()
    tab.mouse.move(*place(tab, 0, 'Segment'))
    expected = 'cell: 1: baseline mean: 60.00 ± 10.00 (3) interval: 50.00 to 70.00'
    assert ' '.join(tip.inner_text().split()) == expected
    assert tab.title() == 'Contrastive pre-training: report'


@pytest.mark.ci
def test_the_legend_hides_and_shows_a_cell_in_all_figures(opened):
    tab = opened()
    shown = f'{PARTS}.filter((part) => part.visible).map(({{glyph}}) => glyph.tags[0])'
    before = tab.evaluate(shown)
    assert set(before) == {0, 1, 2}
    button = tab.locator('.legend button').nth(1)
    button.click()
    assert button.get_attribute('aria-pressed') == 'false'
    assert tab.evaluate(shown) == [cell for cell in before if cell != 1]
    button.press('Enter')
    assert tab.evaluate(shown) == before


@pytest.mark.ci
def test_the_figures_follow_the_theme(opened):
    tab = opened(color_scheme='dark')
    first = f'{PARTS}[0].glyph.line_color.value'
    assert tab.evaluate(first) == DARK[0]
    set_theme(tab, 'light')
    assert tab.evaluate(first) == LIGHT[0]


@pytest.mark.ci
def test_a_heading_sorts_numbers_as_numbers(hostile, opened):
    write_run(hostile / 'ten', 5, 0.1)
    write_run(hostile / 'nine', 6, 0.095)
    tab = opened(size=(390, 800))
    table = tab.locator('table', has=tab.get_by_role('columnheader', name='status'))
    head = table.get_by_role('columnheader', name='linear')
    column = head.evaluate('(head) => head.cellIndex + 1')
    upwards = ['9.50', '10.00', '40.00', '50.00', '60.00', '60.00', '70.00', '80.00']
    for order, numbers in (('ascending', upwards), ('descending', upwards[::-1])):
        head.get_by_role('button').press('Enter')
        assert head.get_attribute('aria-sort') == order
        cells = table.locator(f'tbody tr > :nth-child({column})').all_inner_texts()
        assert cells == [*numbers, '—']
    assert tab.evaluate('document.documentElement.scrollWidth <= innerWidth')


def test_the_tables_can_be_read_without_scripts(opened):
    tab = opened(wait='main', java_script_enabled=False)
    assert NAME in tab.inner_text('table >> nth=0')
    assert '60.00 ± 10.00 (3)' in tab.inner_text('table >> nth=1')
    assert 'The figures need JavaScript' in tab.inner_text('main')
