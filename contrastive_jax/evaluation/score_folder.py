"""The files that a scoring writes."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from contrastive_jax.data.score_files import ScoreFile, write_scores
from contrastive_jax.evaluation.tiles.store import TileStore
from contrastive_jax.runtime.files import write_json
from contrastive_jax.runtime.outputs import make_folder

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ['SCORE_FILES', 'save_scores']

# What a scoring writes; the pictures come from one in memory alone.
SCORE_FILES = (
    *(f'scores.{kind}' for kind in ('npz', 'csv', 'parquet', 'json')),
    *(f'scores_{name}.png' for name in ('histogram', 'gallery', 'classes')),
)


def save_scores(
    out: Path, summary: dict, file: ScoreFile, tiles: Iterable[Path], more: 'pa.Table | None' = None
) -> None:
    """Writes scores and their summary in place of those of an earlier scoring.

    Args:
      out: folder to write to.
      summary: what `scores.json` holds.
      file: the scores.
      tiles: folders of finished tiles, which are not needed any more.
      more: further columns of `scores.parquet`.
    """
    # Not all of them are written, and what an earlier scoring left would show other scores.
    make_folder(out, SCORE_FILES)
    write_json(out / 'scores.json', summary)
    write_scores(out / 'scores.npz', file, more)
    for finished in tiles:
        TileStore(finished).remove()
