import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from contrastive_jax import config as base
from contrastive_jax import main
from contrastive_jax.data import sources
from contrastive_jax.data.constructions import construct
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation.checks import check_data
from contrastive_jax.randomness import HOST_STREAMS
from contrastive_jax.runs.loading import load_run
from contrastive_jax.runs.training_set import claim_workdir
from contrastive_jax.runs.weights import read_config
from contrastive_jax.training import loop
from contrastive_jax.training.task import task_of
from tests.helpers import npz_changes, small_config, taken_away, write_npz
from tests.marks import in_ci
from tests.processes import command, metrics

PROMISED = (
    'linear_accuracy',
    'few_label_accuracy',
    'knn_accuracy',
    'raw_pixel_accuracy',
    'random_encoder_accuracy',
    'validation_accuracy',
    'validation_few_label_accuracy',
    'validation_knn_accuracy',
    'validation_knn20_accuracy',
    'steps',
    'epochs',
    'pairs_per_second',
    'seconds',
    'seed',
    'versions',
    'git_commit',
)
# Orbax and its event loop leave warnings of their own.
pytestmark = pytest.mark.filterwarnings('ignore')


@pytest.fixture
def config(tmp_path):
    return small_config(
        **npz_changes(tmp_path),
        epochs=4,
        checkpoint_every=3,
        pairs__select='difficult',
        pairs__margin=0.2,
    )


def test_a_run_writes_what_is_promised(config, tmp_path, capsys):
    workdir = tmp_path / 'run'
    result = main.run(config, workdir)
    assert json.loads((workdir / 'result.json').read_text()) == result
    assert result.keys() >= set(PROMISED)
    assert result['test_images'] == 12
    # Two classes that differ in brightness: any encoder tells them apart.
    assert result['linear_accuracy'] > 0.9
    assert result['validation_accuracy'] > 0.7  # Of four images.
    assert (result['steps'], result['epochs']) == (8, 4)
    stored = json.loads((workdir / 'config.json').read_text())
    assert stored == base.resolve(config)[0].to_dict()
    assert stored['arm'] == 'margin'
    lines = metrics(workdir)
    assert [line['step'] for line in lines] == list(range(1, 9))
    assert [line['epoch'] for line in lines] == [0, 0, 1, 1, 2, 2, 3, 3]
    expected = {'loss', 'positive_similarity', 'selected_share', 'different_class_share'}
    assert lines[0].keys() >= expected
    assert list(workdir.glob('events.out.tfevents.*'))
    assert (workdir / 'checkpoints' / '8').is_dir()
    printed = capsys.readouterr().out
    assert 'trained encoder' in printed
    assert 'raw pixels' in printed


@pytest.mark.ci
def test_the_same_run_twice_writes_the_same_bytes_but_for_times(config, tmp_path):
    texts, shared = [], tmp_path / 'shared'
    for name, folder in (('first', None), ('second', shared)):
        main.run(config, tmp_path / name, folder)
        lines = (tmp_path / name / 'result.json').read_text().splitlines()
        texts.append(
            [line for line in lines if '"seconds"' not in line and '_per_second' not in line]
        )
    assert texts[0] == texts[1]
    assert metrics(tmp_path / 'first') == metrics(tmp_path / 'second')
    assert any('"processor"' in line for line in texts[0])
    # Raw pixels, and the untrained encoder.
    assert len(list(shared.iterdir())) == 2


def test_a_patch_that_does_not_divide_the_image_is_refused(config, tmp_path):
    config.pairs.update(select='none', remove=False, margin=0.0, temperature_scale=1.0)
    config.model.update(name='energy', patch=3)
    with pytest.raises(UserError, match=r'config\.model\.patch=3: images of 8 x 8'):
        main.run(config, tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


@pytest.mark.ci
@pytest.mark.newest
def test_a_whole_run_compiles_its_step_once(config, tmp_path, compiled):
    counts = []
    for epochs in (config.epochs, 2 * config.epochs):
        config.epochs = epochs
        jax.clear_caches()  # so that nothing is compiled yet, whatever ran before
        compiled.clear()
        main.run(config, tmp_path / f'run{epochs}')
        # `pmap` calls what it maps `_fun`, and the step is the only mapped function; inside of a
        # `jit`, which takes the options of the compiler, it keeps its name.
        assert compiled['train_step'] + compiled['_fun'] == 1
        # One program for both splits of images, by the trained and the untrained encoder.
        assert compiled['_encode'] == 1
        counts.append(compiled.total())
    # The rest are programs of the probes, and slices and copies of milliseconds. How many depends
    # on the version of JAX; that twice the epochs need no more of them does not.
    assert 0 < counts[0] == counts[1]


def test_a_finished_run_is_left_alone(config, tmp_path, capsys):
    workdir = tmp_path / 'run'
    workdir.mkdir()
    (workdir / 'config.json').write_text(json.dumps(config.to_dict()))
    (workdir / 'result.json').write_text('{"linear_accuracy": 0.5}')
    assert main.run(config, workdir) == {'linear_accuracy': 0.5}
    assert 'finished' in capsys.readouterr().out
    assert {path.name for path in workdir.iterdir()} == {'config.json', 'result.json'}


def test_a_finished_run_of_before_a_check_is_left_alone(config, tmp_path, capsys):
    config.update(arm='', init='one', extend='another')
    workdir = tmp_path / 'run'
    workdir.mkdir()
    (workdir / 'config.json').write_text(json.dumps(config.to_dict()))
    with pytest.raises(UserError, match=r'config\.init='):
        main.run(config, workdir)
    (workdir / 'result.json').write_text('{"linear_accuracy": 0.5}')
    assert main.run(config, workdir) == {'linear_accuracy': 0.5}


def test_images_that_cannot_be_measured_leave_no_run(config, tmp_path, monkeypatch):
    def fail(_):
        raise UserError('a.png: cannot be read')

    monkeypatch.setattr('contrastive_jax.runs.training_set.measure_image_facts', fail)
    workdir = tmp_path / 'run'
    with pytest.raises(UserError, match='cannot be read'):
        main.run(config, workdir)
    assert not workdir.exists()


@pytest.mark.newest
# Before the first checkpoint, and after the second; by epochs, and by as many updates.
@pytest.mark.parametrize(('stop', 'steps'), [(7, 0), *in_ci((1, 0), (7, 8))])
def test_a_resumed_run_is_the_unbroken_one(config, tmp_path, monkeypatch, stop, steps):
    config.update(steps=steps, epochs=3 if steps else 4)
    split = sources.load(config.data).train
    unbroken, broken = tmp_path / 'unbroken', tmp_path / 'broken'
    for workdir in (unbroken, broken):
        workdir.mkdir()
    whole = loop.pretrain(config, split, unbroken)
    ended = taken_away(monkeypatch, 'make_batch', stop)
    with ended, pytest.raises(RuntimeError, match='taken away'):
        loop.pretrain(config, split, broken)
    resumed = loop.pretrain(config, split, broken)
    assert int(resumed.final.step) == 8
    jax.tree.map(np.testing.assert_array_equal, whole.final.params, resumed.final.params)
    jax.tree.map(np.testing.assert_array_equal, whole.final.opt_state, resumed.final.opt_state)
    assert metrics(broken) == metrics(unbroken)


@pytest.mark.parametrize('steps', [3, 5])
def test_the_number_of_updates_can_be_fixed(config, tmp_path, steps):
    # Of 40 images without 8: two steps of 16 an epoch, as with all of them.
    config.removal.update(method='random', ratio=0.2)
    config.steps = steps
    result = main.run(config, tmp_path / 'run')
    assert (result['steps'], result['epochs']) == (steps, steps / 2)
    lines = metrics(tmp_path / 'run')
    assert [line['step'] for line in lines] == list(range(1, steps + 1))
    assert [line['epoch'] for line in lines] == [0, 0, 1, 1, 2][:steps]
    assert (tmp_path / 'run' / 'checkpoints' / str(steps)).is_dir()
    rates = [line['learning_rate'] for line in lines]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < rates[0] / 2


@pytest.mark.ci
def test_a_run_that_leaves_images_out_can_make_as_many_updates_as_one_that_does_not(
    config, tmp_path
):
    config.removal.update(method='random', ratio=0.5)
    config.equal_updates = True
    result = main.run(config, tmp_path / 'run')
    # Two steps of 16 an epoch with all 40 images, one with 20 of them.
    assert (result['steps'], result['epochs']) == (8, 8)
    assert len(metrics(tmp_path / 'run')) == 8
    config.update(extend=str(tmp_path / 'run'), epochs=5)
    result = main.run(config, tmp_path / 'longer')
    assert (result['steps'], result['epochs']) == (10, 10)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'ratio': 0.0}, r'nothing is removed while config\.removal\.ratio=0\.0'),
        (
            {'ratio': 0.1, 'method': 'random'},
            r"has no effect with config\.removal\.method='random'",
        ),
    ],
)
def test_scores_that_remove_nothing_are_refused_for_a_new_run_alone(
    config, tmp_path, changes, words
):
    config.removal.update(scores='scores.npz', **changes)
    with pytest.raises(UserError, match=words):
        main.run(config, tmp_path / 'run')
    # A run of an earlier version, which took them, can be read and goes on.
    stored = base.resolve(config)[0]
    (tmp_path / 'run').mkdir(exist_ok=True)
    (tmp_path / 'run' / 'config.json').write_text(json.dumps(stored.to_dict()))
    assert read_config(tmp_path / 'run').removal.scores == 'scores.npz'
    config.batch_size = 15
    with pytest.raises(UserError, match='holds a run of another config'):
        main.run(config, tmp_path / 'run')


@pytest.mark.parametrize(
    ('changes', 'longer'),
    [({'epochs': 9}, True), ({'epochs': 1}, False), ({'epochs': 9, 'seed': 1}, False)],
)
def test_a_finished_run_that_is_to_train_longer_is_told_how(config, tmp_path, changes, longer):
    stored = base.resolve(config)[0]
    stored.epochs = 2
    (tmp_path / 'config.json').write_text(json.dumps(stored.to_dict()))
    (tmp_path / 'result.json').write_text('{}')
    config.update(epochs=2)
    config.update(changes)
    with pytest.raises(UserError, match='holds a run of another config') as caught:
        main.run(config, tmp_path)
    assert ('--config.extend' in str(caught.value)) == longer


def test_without_labels_there_is_nothing_to_probe(config, tmp_path, capsys):
    write_npz(Path(config.data.data_dir), labels=False)
    result = main.run(config, tmp_path / 'run')
    assert result['linear_accuracy'] is None
    assert result['validation_accuracy'] is None
    assert 'No labels: nothing to probe' in capsys.readouterr().out
    assert 'different_class_share' not in metrics(tmp_path / 'run')[0]


def test_a_run_of_before_a_field_existed_is_resumed(config, tmp_path, capsys):
    workdir = tmp_path / 'run'
    workdir.mkdir()
    stored = config.to_dict()
    del stored['arm'], stored['steps'], stored['denoise'], stored['moco']['shuffle']
    (workdir / 'config.json').write_text(json.dumps(stored))
    (workdir / 'result.json').write_text('{"linear_accuracy": 0.5}')
    assert main.run(config, workdir) == {'linear_accuracy': 0.5}
    config.moco.momentum = 0.5
    with pytest.raises(
        UserError, match=r'another config \(moco\.momentum: 0\.99 there, 0\.5 here\)'
    ):
        main.run(config, workdir)


def test_a_workdir_of_another_config_is_refused(config, tmp_path):
    workdir = tmp_path / 'run'
    workdir.mkdir()
    (workdir / 'config.json').write_text(json.dumps(config.to_dict() | {'seed': 7}))
    with pytest.raises(UserError, match=r'another config.*seed: 7 there, 0 here'):
        main.run(config, workdir)
    assert [path.name for path in workdir.iterdir()] == ['config.json']


def test_a_run_is_not_resumed_on_other_images(config, tmp_path):
    scores = tmp_path / 'scores.npy'
    np.save(scores, np.arange(40.0))
    config.removal.update(method='file', ratio=0.1, scores=str(scores))
    built = construct(config, sources.load(config.data).train)
    claim_workdir(tmp_path / 'run', config, built)
    claim_workdir(tmp_path / 'run', config, built)
    np.save(scores, -np.arange(40.0))
    with pytest.raises(UserError, match=r'other images \(kept differ\).*written anew'):
        main.run(config, tmp_path / 'run')
    assert not (tmp_path / 'run' / 'result.json').exists()


def test_a_run_begun_with_other_random_streams_says_so(config, tmp_path, caplog):
    workdir = tmp_path / 'run'
    built = construct(config, sources.load(config.data).train)
    claim_workdir(workdir, config, built)
    claim_workdir(workdir, config, built)
    assert not caplog.messages
    # As the first edition wrote it, and as one that drew the same images and other views.
    for count, edition in enumerate(({}, {'streams': HOST_STREAMS}), 1):
        np.savez(workdir / 'training_set.npz', kept=built.kept, mixed=[], partners=[], **edition)
        claim_workdir(workdir, config, built)
        assert len(caplog.messages) == count
        assert 'begun by a version that draws batches or views otherwise' in caplog.messages[-1]


@pytest.mark.parametrize('read', [main.run, lambda _, workdir: load_run(workdir)])
def test_images_that_another_version_drew_are_not_taken_for_those_of_this_one(
    config, tmp_path, read
):
    config.mixed.ratio = 0.25
    workdir = tmp_path / 'run'
    built = construct(config, sources.load(config.data).train)
    claim_workdir(workdir, config, built)
    (workdir / 'checkpoints' / '1').mkdir(parents=True)
    others = (built.mixed + 1) % 40
    np.savez(workdir / 'training_set.npz', kept=built.kept, mixed=others, partners=built.partners)
    with pytest.raises(UserError, match=r'other images \(mixed differ\): the version that began'):
        read(config, workdir)


@pytest.mark.parametrize(
    'name', ['metrics.jsonl', 'encoder.safetensors', 'start.json', 'images.json']
)
def test_a_folder_with_somebody_elses_results_is_refused(config, tmp_path, name):
    (tmp_path / name).write_text('precious')
    with pytest.raises(UserError, match=rf'{re.escape(name)} but no config\.json'):
        main.run(config, tmp_path)
    assert (tmp_path / name).read_text() == 'precious'


@pytest.mark.parametrize(
    ('path', 'value', 'words'),
    [
        ('batch_size', 18, r'config\.batch_size=18: must be divisible by the 4 devices.*is 16'),
        ('batch_size', 44, r'config\.batch_size=44: larger than the 40 training images'),
        ('batch_size', 100, r'larger than the 40 training images; choose at most 40$'),
        ('probe.labels_per_class', 21, r'config\.probe\.labels_per_class=21: the smallest class'),
        ('data.data_dir', 'nowhere.npz', r"config\.data\.data_dir='nowhere\.npz': no such file"),
        ('loss.temperature', 0.0, r'config\.loss\.temperature=0\.0'),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(config, tmp_path, path, value, words):
    config.update_from_flattened_dict({path: value})
    with pytest.raises(UserError, match=words):
        main.run(config, tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


def test_without_labels_of_the_tests_no_class_is_too_small(tmp_path):
    config = small_config()
    images, labels = np.zeros((40, 8, 8, 1), np.uint8), np.arange(40) // 39
    arrays = {'train_images': images, 'train_labels': labels}
    np.savez(tmp_path / 'data.npz', **arrays, test_images=images)
    config.data.name, config.data.data_dir = 'npz', str(tmp_path / 'data.npz')
    task, dataset = task_of(config), sources.load(config.data)
    built = construct(config, dataset.pretrain)
    check_data(config, task, dataset, built)
    labelled = dataset._replace(test=dataset.test._replace(labels=np.zeros(40, np.int32)))
    with pytest.raises(UserError, match='the smallest class'):
        check_data(config, task, labelled, built)


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (
            ['--config=configs/digits.py', '--config.pairs.margn=1'],
            'nearest is config.pairs.margin',
        ),
        *in_ci(
            (['--config=configs/digits.py:smol'], 'variants are small'),
            (['--config=configs/none.py'], 'configs/none.py'),
        ),
        (
            ['--config=configs/digits.py', '--config.epochs=many'],
            '--config.epochs=many: must be an integer of at least 1',
        ),
        (['--config=configs/digits.py', '--config.batch_size=9999'], 'config.batch_size=9999'),
    ],
)
def test_the_command_says_what_is_wrong_in_one_line(arguments, words, tmp_path):
    done = command('main', *arguments, f'--workdir={tmp_path / "run"}')
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert not (tmp_path / 'run').exists()
