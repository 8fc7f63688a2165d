"""Draws the rooms of the package and which imports which, from the imports themselves.

python docs/figures/architecture.py

writes docs/guide/architecture.svg. A room is a folder of `contrastive_jax`; its single modules are
the commands. An arrow of the picture is an import in some module of the room. Arrows that follow
from two others are left out.
"""

import ast
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[2]
FILE = ROOT / 'docs' / 'guide' / 'architecture.svg'
# Imported from everywhere: arrows to them would say nothing.
GROUND = ('errors', 'randomness', 'numerics', 'runtime', 'config')
# Imports that go up, and why. No other may.
UP = {
    ('config', 'tasks'): 'importing the config registers the sections of all tasks',
    ('tasks', 'ebt'): 'the tenant is registered where it is there',
    ('runs', 'training'): 'to load a run is to build its first state and to restore it',
}

Arrow = tuple[str, str]


def arrows(root: Path = ROOT) -> set[Arrow]:
    """Pairs of rooms of which the first imports the second."""
    found = set()
    package = root / 'contrastive_jax'
    for file in package.rglob('*.py'):
        here = _room(file.relative_to(root))
        for module in _imports(ast.parse(file.read_text())):
            path = root.joinpath(*module.split('.'))
            if path.is_dir() or path.with_suffix('.py').exists():
                there = path if path.is_dir() else path.with_suffix('.py')
                found.add((here, _room(there.relative_to(root))))
    return {(a, b) for a, b in found if a != b and '' not in (a, b)}


def floors(pairs: set[Arrow]) -> dict[str, int]:
    """The floor of each room: one above the highest room that it imports; the lowest is 0.

    Raises:
      ValueError: rooms import each other in a circle that `UP` does not name.
    """
    down = pairs - UP.keys()
    rooms = {room for pair in pairs for room in pair}
    height = dict.fromkeys(rooms, 0)
    for _ in rooms:
        before = dict(height)
        for a, b in down:
            height[a] = max(height[a], height[b] + 1)
        if height == before:
            return height
    raise ValueError('rooms import each other in a circle')


def text(pairs: set[Arrow]) -> str:
    """All arrows as lines, in order."""
    return '\n'.join(f'{a} -> {b}' for a, b in sorted(pairs))


def draw(pairs: set[Arrow]) -> Figure:
    """The rooms on their floors, the ground below, and the arrows between them."""
    shown = {(a, b) for a, b in pairs if not {a, b} & set(GROUND)}
    height = floors(shown)
    rows: dict[int, list[str]] = {}
    for room in sorted(height):
        rows.setdefault(height[room], []).append(room)
    at = {
        room: ((i + 0.5) / len(row), level + 1)
        for level, row in rows.items()
        for i, room in enumerate(row)
    }
    figure = Figure(figsize=(9, 1.1 * (len(rows) + 1)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 1), ylim=(-0.5, len(rows) + 0.6))
    axes.axis('off')
    box = {'boxstyle': 'round,pad=0.4', 'facecolor': 'white', 'edgecolor': '#404040'}
    down = shown - UP.keys()
    for a, b in sorted(_needed(down)):
        style = {'arrowstyle': '-|>', 'color': '#7a7a7a', 'shrinkA': 16, 'shrinkB': 22}
        axes.annotate('', at[b], at[a], arrowprops=style)
    for room, position in at.items():
        axes.text(*position, room, ha='center', va='center', bbox=box, fontsize=11)
    axes.text(0.5, 0, '   '.join(GROUND), ha='center', va='center', bbox=box, fontsize=11)
    return figure


def main() -> None:
    """Writes the picture, with the arrows as a text inside."""
    pairs = arrows()
    # The same bytes for the same arrows.
    with matplotlib.rc_context({'svg.hashsalt': 'rooms', 'svg.fonttype': 'none'}):
        draw(pairs).savefig(FILE, metadata={'Date': None, 'Description': text(pairs)})


def _needed(pairs: set[Arrow]) -> set[Arrow]:
    """Arrows that do not follow from two others."""
    below: dict[str, set[str]] = {}
    for a, b in pairs:
        below.setdefault(a, set()).add(b)

    def reach(room: str) -> set[str]:
        return {room}.union(*(reach(next_room) for next_room in below.get(room, ())))

    return {(a, b) for a, b in pairs if not any(b in reach(c) for c in below[a] if c != b)}


def _imports(tree: ast.Module):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('contrastive_jax'):
            for alias in node.names:
                name = f'{node.module}.{alias.name}'
                path = ROOT.joinpath(*name.split('.'))
                is_module = path.is_dir() or path.with_suffix('.py').exists()
                yield name if is_module else node.module
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith('contrastive_jax'))


def _room(path: Path) -> str:
    """The room of a file or folder below `contrastive_jax`; '' for the package itself."""
    parts = path.with_suffix('').parts[1:]
    if not parts or parts == ('__init__',):
        return ''
    is_command = len(parts) == 1 and not (ROOT / 'contrastive_jax' / parts[0]).is_dir()
    return 'commands' if is_command and parts[0] not in GROUND else parts[0]


if __name__ == '__main__':
    main()
