import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / 'docs' / 'guide' / 'architecture.md'


def load():
    path = ROOT / 'docs' / 'figures' / 'architecture.py'
    spec = importlib.util.spec_from_file_location('architecture', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def architecture():
    return load()


def test_the_picture_shows_the_imports_of_today(architecture):
    drawn = re.search(
        r'<dc:description>(.*?)</dc:description>', architecture.FILE.read_text(), re.S
    )
    assert drawn[1].replace('&gt;', '>').strip() == architecture.text(architecture.arrows())


def test_no_import_goes_up_but_those_that_are_named(architecture):
    pairs = architecture.arrows()
    floors = architecture.floors(pairs)
    assert pairs >= architecture.UP.keys()
    assert all(floors[a] > floors[b] for a, b in pairs - architecture.UP.keys())


def test_pure_rooms_import_numerics_alone(architecture):
    below = {b for a, b in architecture.arrows() if a in ('objectives', 'graph', 'theory')}
    assert below <= {'numerics', 'randomness', 'errors'}


def test_only_commands_and_the_registry_know_the_tenant(architecture):
    assert {a for a, b in architecture.arrows() if b == 'ebt'} == {'commands', 'tasks'}


def test_a_circle_is_found(architecture):
    with pytest.raises(ValueError, match='circle'):
        architecture.floors({('a', 'b'), ('b', 'c'), ('c', 'a')})


def test_there_are_at_most_twelve_modules_at_the_top():
    modules = {path.stem for path in (ROOT / 'contrastive_jax').glob('*.py')} - {'__init__'}
    assert len(modules) <= 12


def test_every_file_that_the_guide_names_is_there():
    names = re.findall(r'`([a-z_]+/[a-z_/]*(?:\.py)?)`', GUIDE.read_text())
    assert len(names) > 20
    missing = [
        name
        for name in names
        if not any((root / name).exists() for root in (ROOT, ROOT / 'contrastive_jax'))
    ]
    assert not missing
