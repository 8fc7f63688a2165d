"""One name for one thing."""

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / 'contrastive_jax'
# Each command has the first two, and each task the third.
_OF_MANY = {'main', 'run', 'make_task'}


def test_no_two_public_functions_or_classes_have_one_name():
    places = defaultdict(list)
    for file in sorted(PACKAGE.rglob('*.py')):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != '_':
                places[node.name].append(str(file.relative_to(PACKAGE)))
    assert len(places) > 300
    twice = {name: files for name, files in places.items() if len(files) > 1}
    assert twice.keys() - _OF_MANY == set(), twice
