"""Processes that meet at a port, as threads; and what they are told when they do not."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contrastive_jax.errors import UserError
from contrastive_jax.runtime import rendezvous
from contrastive_jax.runtime.rendezvous import meet, parse_address

ROOT = Path(__file__).parents[2]


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(('localhost', 0))
        return free.getsockname()[1]


def _meet_all(*processes, patience=1.0):
    """Lets processes meet, given as address, number of them and own number; what each is told."""

    def one(process):
        try:
            meet(*process, patience)
        except UserError as error:
            return str(error)
        return ''

    with ThreadPoolExecutor(len(processes)) as pool:
        return list(pool.map(one, processes))


@contextlib.contextmanager
def _somebody_else(port, says):
    """A program that listens on the port and answers every line with something."""
    with socket.create_server(('localhost', port)) as server:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    guest, _ = server.accept()
                    with guest:
                        guest.recv(100)
                        guest.sendall(says)

        threading.Thread(target=serve, daemon=True).start()
        yield
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize('number', [1, 2, 5])
def test_all_processes_meet_in_any_order(number, port):
    address = f'localhost:{port}'
    processes = [(address, number, index) for index in reversed(range(number))]
    assert _meet_all(*processes, patience=10.0) == [''] * number
    # JAX can take the port over.
    with socket.create_server(('localhost', port)):
        pass


def test_process_0_may_come_later(port):
    address = f'localhost:{port}'
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(meet, address, 2, 1, 10.0)
        time.sleep(0.5)
        assert not waiting.done()
        meet(address, 2, 0, 10.0)
        waiting.result(10)


def test_nobody_listens(port, monkeypatch, capsys):
    monkeypatch.setattr(rendezvous, '_QUIET_SECONDS', 0.1)
    address = f'localhost:{port}'
    with pytest.raises(UserError) as told:
        meet(address, 2, 1, 0.8)
    assert str(told.value) == (
        f'--coordinator_address={address}: process 1 of 2 has reached nobody there for 0.8 s '
        '(Connection refused); start process 0 on that machine, or correct the address in all '
        'processes'
    )
    # What it waits for is said once.
    assert capsys.readouterr().err == (
        f'process 1 of 2 waits for process 0 at {address} (Connection refused), up to 0.8 s\n'
    )


def test_a_host_that_does_not_exist(port):
    first, second = _meet_all(*((f'no-host.invalid:{port}', 2, index) for index in range(2)))
    assert 'process 0 cannot reach itself there' in first
    assert 'process 1 of 2 has reached nobody there for 1 s' in second


def test_processes_that_do_not_come(port, monkeypatch, capsys):
    monkeypatch.setattr(rendezvous, '_QUIET_SECONDS', 0.1)
    address = f'localhost:{port}'
    first, second = _meet_all((address, 4, 0), (address, 4, 2))
    assert first == second
    assert f'process 0 has waited 1 s at {address}, and these have not come: 1, 3;' in first
    assert f'process 0 waits at {address} for processes 1, ' in capsys.readouterr().err


def test_a_process_that_died_while_it_waited_may_come_again(port):
    address = f'localhost:{port}'
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(meet, address, 2, 0, 10.0)
        time.sleep(0.3)
        with socket.create_connection(('localhost', port)) as dying:
            # It ends before anybody else came; so does somebody who looks which ports are open.
            dying.sendall(b'contrastive_jax 3')
        meet(address, 2, 1, 10.0)
        waiting.result(10)


def test_a_process_that_waits_is_replaced_when_it_dies(port):
    address = f'localhost:{port}'
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(meet, address, 3, 0, 10.0)
        time.sleep(0.3)
        with socket.create_connection(('localhost', port)) as dying:
            dying.sendall(b'contrastive_jax 3 1\n')
            assert dying.recv(100) == b'welcome\n'
        time.sleep(0.5)
        second = pool.submit(meet, address, 3, 1, 10.0)
        meet(address, 3, 2, 10.0)
        assert [first.result(10), second.result(10)] == [None, None]


def test_process_0_dies_while_others_wait(port):
    with socket.create_server(('localhost', port)) as server, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(meet, f'localhost:{port}', 3, 1, 10.0)
        guest, _ = server.accept()
        with guest:
            guest.recv(100)
            guest.sendall(b'welcome\n')
        with pytest.raises(UserError, match='process 1 of 3 lost process 0'):
            waiting.result(10)


@pytest.mark.parametrize('says', [b'HTTP/1.0 400 Bad request\r\n', b'\0\0\6\4\0', b''])
def test_somebody_else_listens(says, port):
    with _somebody_else(port, says), pytest.raises(UserError, match='is not process 0 of this run'):
        meet(f'localhost:{port}', 2, 1, 1.0)


def test_somebody_else_listens_where_process_0_wants_to(port):
    with (
        _somebody_else(port, b''),
        pytest.raises(UserError, match=rf'cannot listen on port {port} \(Address already in use\)'),
    ):
        meet(f'localhost:{port}', 2, 0, 1.0)


def test_numbers_of_processes_that_differ(port):
    address = f'localhost:{port}'
    told = _meet_all((address, 2, 0), (address, 3, 1), patience=10.0)
    line = (
        '--num_processes: process 1 was started with 3, process 0 with 2; give all processes the '
        'same number'
    )
    assert told == [line, line]


def test_two_processes_of_one_number(port):
    address = f'localhost:{port}'
    told = _meet_all((address, 3, 0), (address, 3, 1), (address, 3, 1), patience=10.0)
    line = '--process_id=1: two processes have this number; give each its own, from 0 to 2'
    assert told == [line, line, line]


@pytest.mark.parametrize(
    'address', ['localhost', 'localhost:', ':80', 'a:b', 'a:0', 'a:65536', '::1:80', '[::1]', '']
)
def test_an_address_that_cannot_be(address):
    with pytest.raises(UserError, match='must be HOST:PORT'):
        parse_address(address)


def test_addresses():
    assert parse_address('node-1.cluster:12345') == ('node-1.cluster', 12345)
    assert parse_address('[::1]:80') == ('::1', 80)


def test_the_command_ends_with_one_line(port, tmp_path):
    command = [
        *(sys.executable, '-m', 'contrastive_jax.main', '--config=configs/digits.py'),
        *(f'--workdir={tmp_path / "run"}', f'--coordinator_address=localhost:{port}'),
        *('--num_processes=2', '--process_id=1'),
    ]
    with _somebody_else(port, b'HTTP/1.0 400 Bad request\r\n'):
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=100
        )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f'error: --coordinator_address=localhost:{port}: what listens there')
    assert not (tmp_path / 'run').exists()
