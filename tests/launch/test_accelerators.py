import sys

import pytest

from launch.accelerators import describe, gpus, variables
from launch.local import run_all
from launch.planning import Run


def test_gpus_are_those_that_may_be_used(tmp_path, monkeypatch):
    assert gpus({'CUDA_VISIBLE_DEVICES': '2, 5'}) == ('2', '5')
    assert gpus({'CUDA_VISIBLE_DEVICES': ''}) == gpus({'CUDA_VISIBLE_DEVICES': '-1'}) == ()
    program = tmp_path / 'nvidia-smi'
    program.write_text('#!/bin/sh\necho "GPU 0: H100 (UUID: a)"\necho "GPU 1: H100 (UUID: b)"\n')
    program.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=':')
    assert gpus({}) == ('0', '1')
    program.write_text(
        '#!/bin/sh\ncat << end\n'
        'GPU 0: H100 (UUID: a)\n'
        '  MIG 3g.40gb     Device  0: (UUID: b)\n'
        '  MIG 3g.40gb     Device  1: (UUID: c)\n'
        'GPU 1: H100 (UUID: d)\n'
        'end\n'
    )
    assert gpus({}) == ('0', '1')
    program.write_text('#!/bin/sh\necho no driver >&2\nexit 9\n')
    assert gpus({}) == ()
    program.unlink()
    monkeypatch.setenv('PATH', str(tmp_path))
    assert gpus({}) == ()


@pytest.mark.parametrize(
    ('jobs', 'names', 'expected'),
    [
        (1, '01', [{}]),
        (2, '', [{}, {}]),
        (2, '01', [{'CUDA_VISIBLE_DEVICES': '0'}, {'CUDA_VISIBLE_DEVICES': '1'}]),
        (2, '0123', [{'CUDA_VISIBLE_DEVICES': '0,2'}, {'CUDA_VISIBLE_DEVICES': '1,3'}]),
        (3, '01234567', [{'CUDA_VISIBLE_DEVICES': own} for own in ('0,3', '1,4', '2,5')]),
        (
            3,
            '01',
            [
                {'CUDA_VISIBLE_DEVICES': name, 'XLA_PYTHON_CLIENT_PREALLOCATE': 'false'}
                for name in '010'
            ],
        ),
    ],
)
def test_runs_have_gpus_of_their_own_or_share_them_without_preallocation(jobs, names, expected):
    assert [variables(slot, names, jobs) for slot in range(jobs)] == expected
    assert bool(describe(names, jobs)) == any(expected)


def test_the_line_says_how_gpus_are_shared():
    assert describe('0', 3) == '3 runs at a time share 1 GPU, and set no memory aside'
    assert describe('01', 3).startswith('3 runs at a time share 2 GPUs,')
    assert describe('01234567', 3).endswith('2 GPUs each, their own; 2 of 8 stay idle')


def test_runs_at_the_same_time_see_different_gpus(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '4,7')
    runs = []
    for name in 'abcd':
        made = tmp_path / name / 'result.json'
        program = (
            'import os, pathlib, time; '
            "print(os.environ['CUDA_VISIBLE_DEVICES'], time.monotonic(), flush=True); "
            'time.sleep(0.5); print(time.monotonic()); '
            f'p = pathlib.Path({str(made)!r}); p.parent.mkdir(); p.touch()'
        )
        command = (sys.executable, '-c', program)
        runs.append(Run((name,), 0, tmp_path / name, (command,), (made,), None))
    assert [outcome.reason for outcome in run_all(runs, 2)] == [''] * 4
    assert '2 runs at a time have 1 GPU each, their own\n' in capsys.readouterr().out
    seen = [run.log.read_text().split() for run in runs]
    spans = [(gpu, float(start), float(end)) for gpu, start, end in seen]
    assert {gpu for gpu, *_ in spans} == {'4', '7'}
    for gpu, start, end in spans:
        assert not [s for g, s, _ in spans if g == gpu and start < s < end]
