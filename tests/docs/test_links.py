import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page):
    links = re.findall(r'\]\(([^)#\s]+)\)', page.read_text())
    missing = [link for link in links if '://' not in link and not (page.parent / link).exists()]
    assert not missing


def test_every_page_can_be_reached_from_the_readme():
    seen, left = set(), [ROOT / 'README.md']
    while left:
        page = left.pop()
        if page in seen:
            continue
        seen.add(page)
        links = re.findall(r'\]\(([^)#\s]+\.md)\)', page.read_text())
        left += [(page.parent / link).resolve() for link in links if '://' not in link]
    assert not set(PAGES) - seen
