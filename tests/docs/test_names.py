"""One name for one thing."""

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / 'contrastive_jax'
# Each command has the first two, and each task the third.
_OF_MANY = {'main', 'run', 'make_task'}


def _defined(node):
    """Names that a statement at the top of a module defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, 'target', None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def test_no_two_public_functions_or_classes_have_one_name():
    places = defaultdict(list)
    for file in sorted(PACKAGE.rglob('*.py')):
        for node in ast.parse(file.read_text()).body:
            for name in _defined(node):
                if name[0] != '_':
                    places[name].append(str(file.relative_to(PACKAGE)))
    assert len(places) > 300
    assert 'FIELDS' in places
    twice = {name: files for name, files in places.items() if len(files) > 1}
    assert twice.keys() - _OF_MANY == set(), twice


def test_no_function_is_called_as_its_module():
    # `from package.x import x` hides the module behind the function.
    same = [
        str(file.relative_to(PACKAGE))
        for file in sorted(PACKAGE.rglob('*.py'))
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name == file.stem
    ]
    assert same == []
