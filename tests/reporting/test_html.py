import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from contrastive_jax import report
from tests.reporting.runs import fake_result, read_csv, write_run

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'chrome'))), None)
EVIL = '<script>alert(1)</script><img src=x onerror="alert(2)">&'


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
        data__name=f'{EVIL} | [x](http://example.org)',
    )
    return runs


def test_what_comes_from_files_is_shown_as_text(hostile, tmp_path, capsys):
    report.run([str(hostile)], tmp_path / 'out')
    page = (tmp_path / 'out' / 'report.html').read_text()
    found = Elements(page)
    assert found.tags.count('script') == 1
    assert 'img' not in found.tags
    assert not [name for name, _ in found.attributes if name.startswith('on')]
    assert any(EVIL in text for text in found.texts)
    text = (tmp_path / 'out' / 'report.md').read_text()
    assert not re.search(r'<(script|img)|\]\(|\x1b', text + capsys.readouterr().out)
    assert {row['data.name'] for row in read_csv(tmp_path / 'out' / 'report.csv')} == {
        'digits',
        f'{EVIL} | [x](http://example.org)',
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
    # Colours that a dark page could not replace.
    assert not re.findall(r'(?:fill|stroke): ?#(?!f{6})\w+', page)


def test_numbers_are_marked_to_be_sorted_as_such(runs, tmp_path):
    report.run([str(runs)], tmp_path / 'out')
    page = (tmp_path / 'out' / 'report.html').read_text()
    marked = re.findall(r'data-number="([^"]*)">(60\.00|70\.00) ±', page)
    assert {(float(number), text) for number, text in marked} == {(60, '60.00'), (70, '70.00')}


def browse(page, profile):
    """The document after its scripts ran, and what the browser logged."""
    command = [
        CHROMIUM,
        *('--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-sync'),
        *('--disable-quic', '--disable-background-networking', '--disable-component-update'),
        *('--enable-logging=stderr', '--v=0', '--window-size=390,800', '--dump-dom'),
        f'--user-data-dir={profile}',
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


# Sorts the table of runs by its column `linear` twice, and says what came out in the title.
PROBE = """<script>
const table = [...document.querySelectorAll('table')].find(
  (table) => table.tHead.textContent.includes('status'));
const button = [...table.querySelectorAll('button')].find(
  (button) => button.textContent === 'linear');
const said = [];
for (const turn of [1, 2]) {
  button.focus();
  document.activeElement.click();
  const column = button.closest('th').cellIndex;
  said.push(button.closest('th').getAttribute('aria-sort'));
  said.push(...[...table.tBodies[0].rows].map((row) => row.cells[column].textContent));
}
said.push(document.documentElement.scrollWidth <= innerWidth ? 'fits' : 'scrolls');
document.title = said.join(' ');
</script>"""


@pytest.mark.skipif(
    CHROMIUM is None, reason='no chromium found: the page is not tried in a browser'
)
def test_the_page_works_in_a_browser(hostile, tmp_path):
    write_run(hostile / 'ten', 5, 0.1)
    write_run(hostile / 'nine', 6, 0.095)
    report.run([str(hostile)], tmp_path / 'out')
    path = tmp_path / 'out' / 'report.html'
    document, log = browse(path, tmp_path / 'profile')
    assert 'CONSOLE' not in log
    assert Elements(document).tags.count('script') == 1

    page = re.sub('<meta http-equiv.*?>', '', path.read_text()) + PROBE
    path.with_name('probe.html').write_text(page)
    document, log = browse(path.with_name('probe.html'), tmp_path / 'profile')
    assert 'CONSOLE' not in log
    upwards = '9.50 10.00 40.00 50.00 60.00 60.00 70.00 80.00'
    downwards = ' '.join(reversed(upwards.split()))
    said = re.search('<title>(.*?)</title>', document).group(1)
    assert said == f'ascending {upwards} — descending {downwards} — fits'
