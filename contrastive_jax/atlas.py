"""One HTML page to look through the samples by difficulty, verdict, neighbour and place.

python -m contrastive_jax.atlas --workdir=runs/digits
python -m contrastive_jax.atlas --features=features.npy --images=images.npz --out=DIR
"""

from pathlib import Path

from absl import flags

from contrastive_jax.errors import UserError
from contrastive_jax.reporting.atlas.content import MAPS
from contrastive_jax.runtime import cli, progress
from contrastive_jax.runtime.files import write_bytes
from contrastive_jax.runtime.outputs import check_out

_FILE = 'atlas.html'


def main(values: flags.FlagValues) -> None:
    """Runs with the flags of the command line."""
    if (values.workdir is None) == (values.features is None):
        raise UserError('--workdir, --features: give one of them')
    cli.check_company(values, ('labels', 'images', 'scores'), ('features',))
    out = Path(values.out or values.workdir or '.')
    check_out(out, names=(_FILE,), overwrite=values.overwrite)
    # Imported here, because Bokeh and JAX take seconds, and the errors above need neither.
    from contrastive_jax.reporting.atlas import build
    from contrastive_jax.reporting.atlas.page import atlas_page
    from contrastive_jax.reporting.entries import counted
    from contrastive_jax.reporting.style import one_line

    if values.workdir is not None:
        content = build.of_run(Path(values.workdir), out, values.map, values.most)
    else:
        files = build.SampleFiles(values.features, values.labels, values.images, values.scores)
        content = build.of_files(files, values.map, values.most)
    progress.say('page')
    text = atlas_page(content)
    out.mkdir(parents=True, exist_ok=True)
    write_bytes(out / _FILE, text.encode(errors='surrogateescape'))
    size = (out / _FILE).stat().st_size / 1e6
    count = counted(len(content.index), 'sample')
    print(f'{out / _FILE}: {count}, {size:.1f} MB; open it in a browser')
    for note in content.notes:
        print(f'  {one_line(note)}')


if __name__ == '__main__':
    cli.define_common(
        workdir='Trained run; its scores are computed if it has none.',
        out='Folder to write to; by default the workdir, with --features the current folder.',
        overwrite='Replace an earlier atlas.',
    )
    cli.define_features()
    flags.DEFINE_string(
        'images', None, 'With --features: npz or npy file of n images, or a folder.'
    )
    flags.DEFINE_string('scores', None, 'With --features: scores of contrastive_jax.score.')
    flags.DEFINE_enum(
        'map',
        'auto',
        MAPS,
        'Method that places the samples on the map; auto means UMAP if it is installed, else PCA.',
    )
    flags.DEFINE_integer('most', 50_000, 'Largest number of samples on the page.', 1, 250_000)
    cli.run(lambda: main(flags.FLAGS))
