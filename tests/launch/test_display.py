"""What a terminal shows of a sweep while it runs."""

import io
import json
import sys
from pathlib import Path

import pytest

from launch.display import Display
from launch.planning import Run
from launch.status import State, time_left

LINE = 'train: step 30 of 100, 30 %, 01:10 left, epoch 2 of 6, loss 5.272, 191 pairs/s'


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def _screen(monkeypatch):
    # A fixture would be too early, because pytest sets the stream again before the test.
    terminal = _Terminal()
    monkeypatch.setattr(sys, 'stderr', terminal)
    return terminal


def _run(folder, name):
    run = folder / name
    return Run((name,), 0, run, (), (run / 'result.json',), None)


@pytest.mark.parametrize('folder', ['', 'runs'])
def test_the_time_left_is_that_of_status_also_after_a_resume(tmp_path, monkeypatch, folder):
    """Runs that were done before have ended in an instant, and took their time all the same."""
    screen = _screen(monkeypatch)
    monkeypatch.chdir(tmp_path)
    # As in the README, --runs may be relative.
    root = Path(folder) if folder else tmp_path
    root.mkdir(exist_ok=True)
    runs = [_run(root, name) for name in 'abcd']
    for run in runs[:2]:
        run.folder.mkdir()
        (run.folder / 'result.json').write_text(json.dumps({'seconds': 100.0}))
    runs[2].log.write_text(f'{LINE}\n')
    with Display(1, runs) as display:
        for run in runs[:2]:
            display.ended(run, 'done', done=True)
        display.show(runs[2:3])
        states = [
            *(State(run.title, 'done', '', 100.0) for run in runs[:2]),
            State('c', 'running', LINE),
            State('d', 'waiting', ''),
        ]
        assert time_left(states) == 'about 0:02:50 left, by the 2 done'
        last = screen.getvalue().rsplit('2/4', 1)[1]
        assert last.startswith(' [00:00, about 0:02:50 left, by the 2 done]')
        display.ended(runs[2], 'failed', done=False)
        display.show(runs[3:])
        assert '3/4 [00:00, about 0:01:40 left, by the 2 done]' in screen.getvalue()


def test_the_bar_goes_on_while_the_first_run_does(tmp_path, monkeypatch):
    screen = _screen(monkeypatch)
    with Display(1, [_run(tmp_path, 'a')]) as display:
        display._bar.start_t -= 75
        display.show([_run(tmp_path, 'a')])
        assert '0/1 [01:15]' in screen.getvalue()
