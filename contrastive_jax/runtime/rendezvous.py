"""The processes of a run meet at the coordinator's port before JAX connects them.

JAX aborts with a C++ stack if a process is missing, or if another program listens on the port.
Here each such case is a UserError. Process 0 listens on the port, and the others connect and send
their numbers. When all have come, process 0 answers "go", and JAX takes the port over.
"""

import contextlib
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator

from contrastive_jax.errors import UserError

__all__ = ['meet', 'parse_address']

_HELLO = 'contrastive_jax'
_WELCOME, _GO, _ERROR = 'welcome', 'go', 'error '
# After so long a message says which processes are missing.
_QUIET_SECONDS = 3.0
# Time to send the hello line, and the longer time that process 0 has to answer it.
_HELLO_SECONDS = 2.0
_ANSWER_SECONDS = 10.0
_POLL_SECONDS = 0.2
# The most missing processes that a message lists.
_NAMED = 8


def meet(address: str, num_processes: int, process_id: int, patience: float) -> None:
    """Returns when all processes of the run have connected and agree on their number.

    Args:
      address: host and port of process 0.
      num_processes: number of processes.
      process_id: number of this process, from 0.
      patience: seconds to wait for the others.

    Raises:
      UserError: an invalid address, a port that is taken, no process 0 or another program at the
        address, processes that do not come in time or that were started with other flags.
    """
    host, port = parse_address(address)
    if process_id:
        _join(host, port, num_processes, process_id, patience)
    else:
        with _listen(port) as server, contextlib.ExitStack() as guests:
            _check_own_address(host, port)
            _welcome_all(server, address, num_processes, patience, guests)


def parse_address(address: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; an IPv6 host is in brackets.

    Raises:
      UserError: another text, or a port that is not from 1 to 65535.
    """
    match = re.fullmatch(r'(\[[^\[\]]+\]|[^\[\]:]+):(\d+)', address)
    if match is None or not 0 < int(match[2]) < 2**16:
        raise UserError(
            f'--coordinator_address={address}: must be HOST:PORT with a port from 1 to 65535, such '
            'as node1:12345'
        )
    return match[1].strip('[]'), int(match[2])


def _join(host: str, port: int, num_processes: int, process_id: int, patience: float) -> None:
    """Connects to process 0, sends the number of this process, and waits for "go"."""
    who = f'process {process_id} of {num_processes}'
    deadline = time.monotonic() + patience
    with _connect(host, port, deadline, who, patience) as connection:
        answers = _lines(connection)
        try:
            connection.settimeout(_ANSWER_SECONDS)
            connection.sendall(f'{_HELLO} {num_processes} {process_id}\n'.encode())
            answer: str | None = next(answers, '')
            if answer == _WELCOME:
                # Process 0 waits no longer than `patience` after its welcome.
                connection.settimeout(patience + _ANSWER_SECONDS)
                answer = next(answers, None)
        except OSError:
            answer = ''
    if answer is None:
        raise UserError(
            f'--distributed: {who} lost process 0 at {host}:{port} while it waited for the others; '
            'see what process 0 wrote'
        )
    if answer.startswith(_ERROR):
        raise UserError(answer.removeprefix(_ERROR))
    if answer != _GO:
        raise UserError(
            f'--coordinator_address={host}:{port}: what listens there is not process 0 of this '
            'run; choose a free port, the same in all processes'
        )


def _connect(host: str, port: int, deadline: float, who: str, patience: float) -> socket.socket:
    """A connection to process 0, which may start later than this process."""
    say = _once_after(_QUIET_SECONDS)
    while True:
        try:
            return socket.create_connection((host, port), timeout=_ANSWER_SECONDS)
        except OSError as error:
            reason = error.strerror or str(error)
        if time.monotonic() > deadline:
            raise UserError(
                f'--coordinator_address={host}:{port}: {who} has reached nobody there for '
                f'{patience:g} s ({reason}); start process 0 on that machine, or correct the '
                'address in all processes'
            )
        say(f'{who} waits for process 0 at {host}:{port} ({reason}), up to {patience:g} s')
        time.sleep(_POLL_SECONDS)


def _listen(port: int) -> socket.socket:
    """Listens on all addresses of this machine, as JAX does later."""
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        return socket.create_server(('', port), family=family, dualstack_ipv6=both)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(
            f'--coordinator_address: process 0 cannot listen on port {port} '
            f'({reason}); choose another port, the same in all processes'
        ) from error


def _check_own_address(host: str, port: int) -> None:
    """Raises UserError if process 0 was not started on the host that its address names."""
    try:
        socket.create_connection((host, port), timeout=_ANSWER_SECONDS).close()
    except OSError as error:
        raise UserError(
            f'--coordinator_address={host}:{port}: process 0 cannot reach itself there '
            f'({error.strerror or error}); start it on that machine, or correct the address in all '
            'processes'
        ) from error


def _welcome_all(
    server: socket.socket,
    address: str,
    num_processes: int,
    patience: float,
    guests: contextlib.ExitStack,
) -> None:
    """Waits for every other process, then sends all of them "go", or the error."""
    server.settimeout(_POLL_SECONDS)
    deadline = time.monotonic() + patience
    say = _once_after(_QUIET_SECONDS)
    arrived: dict[int, socket.socket] = {}
    problem = ''
    while not problem:
        arrived = {number: guest for number, guest in arrived.items() if _is_connected(guest)}
        missing = sorted(set(range(1, num_processes)) - set(arrived))
        if not missing:
            break
        names = ', '.join(map(str, missing[:_NAMED])) + ' and others' * (len(missing) > _NAMED)
        if time.monotonic() > deadline:
            problem = (
                f'--num_processes={num_processes}: process 0 has waited {patience:g} s at '
                f'{address}, and these have not come: {names}; see what they wrote, and start '
                'all of them'
            )
            break
        say(f'process 0 waits at {address} for processes {names}, up to {patience:g} s')
        try:
            guest = guests.enter_context(server.accept()[0])
        except TimeoutError:
            continue
        hello = _hello(guest)
        if hello is None:
            continue
        _send(guest, _WELCOME)
        problem = _objection(num_processes, *hello, arrived)
        if problem:
            _send(guest, _ERROR + problem)
        else:
            arrived[hello[1]] = guest
    for guest in arrived.values():
        _send(guest, _ERROR + problem if problem else _GO)
    if problem:
        raise UserError(problem)


def _hello(guest: socket.socket) -> tuple[int, int] | None:
    """Number of processes and process number in a hello line; None for other programs."""
    guest.settimeout(_HELLO_SECONDS)
    try:
        words = next(_lines(guest), '').split()
    except OSError:
        return None
    if len(words) != 3 or words[0] != _HELLO or not all(word.isdigit() for word in words[1:]):
        return None
    return int(words[1]), int(words[2])


def _objection(num_processes: int, other_number: int, number: int, arrived: dict) -> str:
    """Why a process that has connected cannot join; empty if it can."""
    if other_number != num_processes:
        return (
            f'--num_processes: process {number} was started with {other_number}, process 0 with '
            f'{num_processes}; give all processes the same number'
        )
    if not 0 < number < num_processes or number in arrived:
        return (
            f'--process_id={number}: two processes have this number; give each its own, from 0 to '
            f'{num_processes - 1}'
        )
    return ''


def _is_connected(guest: socket.socket) -> bool:
    """Whether a process is still connected; a waiting process sends nothing."""
    guest.setblocking(False)
    try:
        return bool(guest.recv(1))
    except BlockingIOError:
        return True
    except OSError:
        return False


def _send(guest: socket.socket, line: str) -> None:
    guest.settimeout(_ANSWER_SECONDS)
    with contextlib.suppress(OSError):
        guest.sendall(f'{line}\n'.encode())


def _lines(connection: socket.socket) -> Iterator[str]:
    """Lines that the other side sends; ends when it closes the connection."""
    with connection.makefile('r', encoding='utf-8', errors='replace', newline='\n') as file:
        # Lines of this protocol are shorter, and another program may never end a line.
        while line := file.readline(2000):
            yield line.rstrip('\n')


def _once_after(seconds: float) -> Callable[[str], None]:
    """A function that prints its first message after some seconds have passed, and no other."""
    begin = time.monotonic()
    printed: list[str] = []

    def say(message: str) -> None:
        if not printed and time.monotonic() - begin > seconds:
            printed.append(message)
            print(message, file=sys.stderr, flush=True)

    return say
