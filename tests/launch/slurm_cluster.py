"""A Slurm of one node on this machine, for tests."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ['PROGRAMS', 'cluster']

PROGRAMS = ('munged', 'slurmctld', 'slurmd', 'srun', 'sbatch')
_CPUS = 4

_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A job that is queued again waits until its old credential has run out; 5 is the least.
AuthInfo=socket={folder}/munge.sock,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={controller}
SlurmdPort={node}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
# The node may promise more processors than it has.
SlurmdParameters=config_overrides
# Jobs that are queued again are looked at often, not once a minute.
SchedulerParameters=sched_interval=2,bf_interval=2
KillWait=2
MailProg=/bin/true
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@contextlib.contextmanager
def cluster() -> Iterator[dict[str, str]]:
    """Starts munge and Slurm, and stops them; gives the environment for the clients."""
    # The path of a socket has to be short, and its folders not open to all.
    folder = Path(tempfile.mkdtemp(prefix='slurm-'))
    folder.chmod(0o755)
    for name in ('state', 'spool'):
        (folder / name).mkdir()
    key = folder / 'munge.key'
    key.touch(0o600)
    key.write_bytes(os.urandom(1024))
    conf = folder / 'slurm.conf'
    conf.write_text(
        _CONF.format(
            host=socket.gethostname().partition('.')[0],
            folder=folder,
            controller=_free_port(),
            node=_free_port(),
            cpus=_CPUS,
        )
    )
    environ = os.environ | {'SLURM_CONF': str(conf)}
    munge = ['munged', '--force', f'--key-file={key}', f'--socket={folder}/munge.sock']
    munge += [f'--{name}-file={folder}/munged.{name}' for name in ('pid', 'log', 'seed')]
    started = []
    try:
        for command, pid in (
            (munge, 'munged.pid'),
            (['slurmctld', '-f', conf], 'slurmctld.pid'),
            (['slurmd', '-f', conf], 'slurmd.pid'),
        ):
            subprocess.run(command, check=True, capture_output=True)
            started.append(folder / pid)
        _wait_until_idle(environ, folder)
        yield environ
    finally:
        subprocess.run(['scancel', '--me', '--full'], env=environ, capture_output=True)
        for pid in reversed(started):
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(pid.read_text()), 15)
        time.sleep(1)
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return free.getsockname()[1]


def _wait_until_idle(environ, folder: Path) -> None:
    for _ in range(60):
        listed = subprocess.run(
            ['sinfo', '--noheader', '--format=%T'], env=environ, capture_output=True, text=True
        )
        if listed.stdout.strip() == 'idle':
            return
        time.sleep(0.5)
    logs = '\n'.join(path.read_text()[-2000:] for path in folder.glob('*.log'))
    raise RuntimeError(f'Slurm does not start: {listed.stdout}{listed.stderr}\n{logs}')
