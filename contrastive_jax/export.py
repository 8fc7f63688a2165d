"""Writes the encoder of a run for PyTorch, under torchvision's names and in its layouts.

python -m contrastive_jax.export --workdir=runs/cifar --format=torch --out=encoder_torch.safetensors
"""

from pathlib import Path

from absl import flags

from contrastive_jax.errors import UserError
from contrastive_jax.models.portable import named_arrays, safetensors_bytes
from contrastive_jax.models.torchvision import torchvision_arrays
from contrastive_jax.runs.encoder import load_weights
from contrastive_jax.runs.names import CONFIG, ENCODER, RESULT
from contrastive_jax.runtime import cli
from contrastive_jax.runtime.files import write_bytes
from contrastive_jax.runtime.outputs import check_out

__all__ = ['run']

# The width that `torchvision.models.resnet18` and its kin are built with.
_WIDTH = 64


def run(workdir: Path, out: Path, *, overwrite: bool = False) -> None:
    """Writes the ResNet of a run as a state dict of torchvision, without the classifier `fc`.

    Args:
      workdir: of the run, or its `encoder.safetensors`.
      out: the file to write.
      overwrite: whether to replace an earlier file.

    Raises:
      UserError: no trained encoder, one that torchvision has no model for, or a file that cannot
        be written.
    """
    _check_not_ours(out)
    source = workdir if workdir.is_file() else workdir / ENCODER
    if source.exists() and out.exists() and out.samefile(source):
        raise UserError(
            f'--out={str(out)!r}: is the encoder itself, which would be replaced; give another name'
        )
    check_out(out, suffixes=('.safetensors',), overwrite=overwrite)
    weights = load_weights(workdir)
    model = weights.config.model
    _check_model(workdir, model)
    arrays = named_arrays(weights.params) | named_arrays(weights.stats)
    arrays = torchvision_arrays(arrays, int(model.name.removeprefix('resnet')))
    # `pt` is what readers of PyTorch look for.
    own = {
        'format': 'pt',
        'architecture': model.name,
        'stem': model.stem,
        'width': str(model.width),
    }
    content = safetensors_bytes(arrays, weights.facts() | own)
    write_bytes(out, content)
    print(f'written to {out}: torchvision.models.{model.name}, stem {model.stem}')
    if model.width != _WIDTH:
        print(
            f'torchvision builds {model.name} with a width of {_WIDTH}, and this one has '
            f'{model.width}: the names and layouts are the same, the module is yours to build'
        )


def _check_not_ours(out: Path) -> None:
    """Raises UserError for the file from which this package reads the encoder of a run."""
    if out.name == ENCODER and any((out.parent / name).exists() for name in (CONFIG, RESULT)):
        raise UserError(
            f'--out={str(out)!r}: is the encoder of a run, which the other commands read; give '
            'another name, such as encoder_torch.safetensors'
        )


def _check_model(workdir: Path, model) -> None:
    """Raises UserError unless torchvision has such a model."""
    where, instead = f'--workdir={workdir}', 'use contrastive_jax.load_encoder'
    if not model.name.startswith('resnet'):
        raise UserError(
            f'{where}: config.model.name={model.name!r}: torchvision has no such model; {instead}, '
            'or train resnet18, resnet34 or resnet50'
        )


if __name__ == '__main__':
    _WORKDIR = flags.DEFINE_string(
        'workdir', None, 'Trained run, or its encoder.safetensors.', required=True
    )
    flags.DEFINE_enum('format', None, ['torch'], 'Library that the file is written for.')
    _OUT = flags.DEFINE_string(
        'out', None, 'File to write, such as encoder_torch.safetensors.', required=True
    )
    _OVERWRITE = flags.DEFINE_bool('overwrite', False, 'Replace an earlier file.')
    flags.mark_flag_as_required('format')
    cli.run(lambda: run(Path(_WORKDIR.value), Path(_OUT.value), overwrite=_OVERWRITE.value))
