import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
_EVERY_PAGE = pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def _links(page):
    """Path and fragment of each link to a file, and to a heading of the page itself."""
    found = re.findall(r'\]\(([^)#\s]*)(?:#([^)\s]+))?\)', page.read_text())
    return [(path, fragment) for path, fragment in found if '://' not in path]


def _headings(page):
    """What a link to a heading says, as GitHub has it."""
    code = re.compile(r'^```.*?^```', re.MULTILINE | re.DOTALL)
    titles = re.findall(r'^#+ (.+)$', code.sub('', page.read_text()), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-') for title in titles}


@_EVERY_PAGE
def test_every_link_leads_to_a_file(page):
    missing = [path for path, _ in _links(page) if path and not (page.parent / path).exists()]
    assert not missing


@_EVERY_PAGE
def test_every_link_to_a_heading_leads_to_one(page):
    missing = [
        (path, fragment)
        for path, fragment in _links(page)
        if fragment and fragment not in _headings(page.parent / path if path else page)
    ]
    assert not missing


def test_every_page_can_be_reached_from_the_readme():
    seen, left = set(), [ROOT / 'README.md']
    while left:
        page = left.pop()
        if page in seen:
            continue
        seen.add(page)
        left += [(page.parent / path).resolve() for path, _ in _links(page) if path.endswith('.md')]
    assert not set(PAGES) - seen
