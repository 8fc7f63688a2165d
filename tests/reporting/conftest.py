import shutil

import pytest

from tests.reporting.runs import write_runs

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'chrome'))), None)


@pytest.fixture
def runs(tmp_path):
    return write_runs(tmp_path / 'runs')


@pytest.fixture(scope='session')
def browser():
    if CHROMIUM is None:
        pytest.skip('needs chromium, to use the page as a reader does')
    sync_api = pytest.importorskip('playwright.sync_api', reason='needs playwright')
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        yield started
        started.close()


@pytest.fixture
def open_file(browser):
    """Opens a page; it must not report an error, nor ask for anything on the network."""
    problems, tabs = [], []

    def open_page(path, *, wait='html[data-ready=yes]', size=(1500, 1200), **options):
        width, height = size
        tab = browser.new_page(viewport={'width': width, 'height': height}, **options)
        tabs.append(tab)
        tab.on('console', lambda line: line.type == 'error' and problems.append(line.text))
        tab.on('pageerror', lambda error: problems.append(str(error)))
        own = ('file:', 'data:', 'blob:')
        tab.on('request', lambda r: r.url.startswith(own) or problems.append(r.url))
        tab.goto(f'file://{path}')
        tab.wait_for_selector(wait, timeout=60_000)
        return tab

    yield open_page
    for tab in tabs:
        tab.close()
    assert problems == []
