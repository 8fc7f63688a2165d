"""The suite on every Python, and at both ends of what `setup.cfg` allows.

    nox                  all sessions
    nox -s suite-3.12    one of them
    nox -s newest -- -x  what follows the dashes goes to pytest

An interpreter that is not on PATH is an error. Those of pyenv are after
`pyenv shell 3.13 3.12 3.11`.
"""

import nox

nox.options.default_venv_backend = 'uv'
nox.options.download_python = 'never'
nox.options.error_on_missing_interpreters = True

_PYTHONS = ['3.11', '3.12', '3.13']


@nox.session(python=_PYTHONS)
def suite(session: nox.Session) -> None:
    """All tests but the slow ones, on what a plain installation brings."""
    session.install('--upgrade', '-e', '.[test]')
    session.run('python', '-m', 'pytest', '-m', 'not slow', *session.posargs)


@nox.session(python=_PYTHONS[0])
def oldest(session: nox.Session) -> None:
    """The same on the oldest Python and the lower bound of each dependency."""
    session.install('--resolution=lowest-direct', '-e', '.[test]')
    session.run('python', '-m', 'pytest', '-m', 'not slow', *session.posargs)


@nox.session(python=_PYTHONS[-2:])
def newest(session: nox.Session) -> None:
    """The tests marked `newest`, which touch what changes between versions of JAX."""
    session.install('--upgrade', '-e', '.[test]')
    session.run('python', '-m', 'pytest', '-m', 'newest and not slow', *session.posargs)
