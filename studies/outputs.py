"""What the studies write."""

from pathlib import Path

__all__ = ['check_new']


def check_new(*paths: Path) -> None:
    """Exits if one of the files is there, since an earlier result is not to be replaced."""
    for path in paths:
        if path.exists():
            raise SystemExit(f'--out: {path} exists; give another name, or delete it')
