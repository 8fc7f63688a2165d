import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from contrastive_jax import export
from contrastive_jax.ebt.section import DENOISERS
from contrastive_jax.errors import UserError
from contrastive_jax.models.torchvision import torchvision_arrays
from tests.helpers import portable_run, small_config

# Of torchvision 0.28: blocks of the stages, convolutions of a block, and the stages whose first
# block changes the shape. Each convolution has a batch norm of five arrays.
LAYOUT = {
    18: ((2, 2, 2, 2), 2, (2, 3, 4)),
    34: ((3, 4, 6, 3), 2, (2, 3, 4)),
    50: ((3, 4, 6, 3), 3, (1, 2, 3, 4)),
}
NORM = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
# Entries of the state dicts of torchvision 0.28, without the two of `fc`.
ENTRIES = {18: 120, 34: 216, 50: 318}


def _names(depth):
    """The keys of `torchvision.models.resnetNN().state_dict()`, without `fc`."""
    blocks, convolutions, changed = LAYOUT[depth]
    pairs = [('conv1', 'bn1')]
    for stage, count in enumerate(blocks, 1):
        for block in range(count):
            at = f'layer{stage}.{block}'
            pairs += [(f'{at}.conv{i}', f'{at}.bn{i}') for i in range(1, convolutions + 1)]
            if block == 0 and stage in changed:
                pairs.append((f'{at}.downsample.0', f'{at}.downsample.1'))
    return {f'{conv}.weight' for conv, _ in pairs} | {
        f'{norm}.{name}' for _, norm in pairs for name in NORM
    }


@pytest.mark.ci
@pytest.mark.parametrize(
    ('stem', 'kernel'), [('cifar', 3), pytest.param('imagenet', 7, marks=pytest.mark.slow)]
)
def test_a_resnet18_is_written_as_torchvision_has_it(tmp_path, stem, kernel):
    config = small_config(model__name='resnet18', model__width=64, model__stem=stem)
    weights = portable_run(tmp_path / 'run', config)
    export.run(tmp_path / 'run', tmp_path / 'a.safetensors')
    arrays = load_file(tmp_path / 'a.safetensors')
    assert arrays.keys() == _names(18)
    ours = weights.params['encoder']['blocks'][2]['shortcut']['conv']['kernel'][...]
    theirs = arrays['layer2.0.downsample.0.weight']
    assert theirs.shape == (128, 64, 1, 1)
    np.testing.assert_array_equal(theirs[5, 7], ours[:, :, 7, 5])
    assert arrays['conv1.weight'].shape == (64, 3, kernel, kernel)
    assert arrays['bn1.num_batches_tracked'].dtype == np.int64
    assert arrays['bn1.num_batches_tracked'].shape == ()
    stats = weights.stats['encoder']['stem']['norm']
    np.testing.assert_array_equal(arrays['bn1.running_mean'], stats['mean'][...])
    np.testing.assert_array_equal(arrays['bn1.running_var'], stats['var'][...])
    with safe_open(tmp_path / 'a.safetensors', framework='numpy') as file:
        facts = file.metadata()
    assert (facts['format'], facts['architecture'], facts['stem']) == ('pt', 'resnet18', stem)
    assert json.loads(facts['moments'])['mean'] == list(weights.images.moments.mean)


@pytest.mark.parametrize('depth', LAYOUT)
def test_the_names_of_every_depth_are_torchvisions(depth):
    class Any(dict):
        """Has every array of the blocks that there are, of one number each."""

        def __missing__(self, name):
            return np.ones((1, 1, 1, 1), np.float32)

        def __contains__(self, name):
            _, convolutions, changed = LAYOUT[depth]
            index, kind = name.split('.')[2:4]
            if kind == 'layers':
                return int(name.split('.')[4]) < convolutions
            firsts = np.cumsum((0, *LAYOUT[depth][0]))[:4].tolist()
            return int(index) in [firsts[stage - 1] for stage in changed]

    names = torchvision_arrays(Any(), depth).keys()
    assert names == _names(depth)
    assert len(names) == ENTRIES[depth]


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'model__name': 'conv'}, "model.name='conv': torchvision has no such model; use contras"),
        ({'model__name': DENOISERS[0]}, 'train resnet18, resnet34 or resnet50'),
    ],
)
def test_what_torchvision_does_not_have_is_refused_in_one_line(tmp_path, changes, words):
    portable_run(tmp_path / 'run', small_config(**changes))
    with pytest.raises(UserError, match=words) as caught:
        export.run(tmp_path / 'run', tmp_path / 'a.safetensors')
    assert '\n' not in str(caught.value)
    assert not (tmp_path / 'a.safetensors').exists()


@pytest.mark.ci
def test_another_width_keeps_the_names_and_is_said(tmp_path, capsys):
    portable_run(tmp_path / 'run', small_config(model__name='resnet18', model__width=4))
    export.run(tmp_path / 'run', tmp_path / 'a.safetensors')
    arrays = load_file(tmp_path / 'a.safetensors')
    assert arrays.keys() == _names(18)
    assert arrays['layer2.0.downsample.0.weight'].shape == (8, 4, 1, 1)
    with safe_open(tmp_path / 'a.safetensors', framework='numpy') as file:
        assert file.metadata()['width'] == '4'
    assert 'with a width of 64, and this one has 4' in capsys.readouterr().out


def test_the_encoder_of_a_run_stays_even_if_files_may_go(tmp_path):
    (tmp_path / 'config.json').touch()
    (tmp_path / 'encoder.safetensors').write_text('precious')
    with pytest.raises(UserError, match='is the encoder of a run, which the other commands read'):
        export.run(tmp_path, tmp_path / 'encoder.safetensors', overwrite=True)
    assert (tmp_path / 'encoder.safetensors').read_text() == 'precious'


def test_an_encoder_file_is_not_replaced_by_its_own_export(tmp_path):
    path = tmp_path / 'mine.safetensors'
    path.write_text('precious')
    with pytest.raises(UserError, match='is the encoder itself'):
        export.run(path, path, overwrite=True)
    assert path.read_text() == 'precious'


def test_nor_is_one_in_a_folder_of_its_own(tmp_path):
    (tmp_path / 'encoder.safetensors').write_text('precious')
    with pytest.raises(UserError, match='is the encoder itself'):
        export.run(tmp_path, tmp_path / 'encoder.safetensors', overwrite=True)
    assert (tmp_path / 'encoder.safetensors').read_text() == 'precious'


def test_an_earlier_file_stays_unless_it_may_go(tmp_path):
    (tmp_path / 'a.safetensors').write_text('precious')
    with pytest.raises(UserError, match='--overwrite'):
        export.run(tmp_path / 'nowhere', tmp_path / 'a.safetensors')
    with pytest.raises(UserError, match=r'must end in \.safetensors'):
        export.run(tmp_path / 'nowhere', tmp_path / 'a.pt')
    assert (tmp_path / 'a.safetensors').read_text() == 'precious'
