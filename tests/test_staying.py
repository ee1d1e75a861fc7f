"""What code of others does to the files of this process while it is called."""

import os

import pytest

from attnlab.guard import called


@pytest.mark.parametrize(
    "closes", [lambda d: os.closerange(3, 4096), lambda d: [os.close(n) for n in range(3, 4096)], lambda d: os.close(d)]
)
def test_it_closes_none_that_others_opened(closes):
    ours, theirs = os.pipe()
    try:
        found = called(closes, theirs)
        assert isinstance(found.error, SystemExit)
        assert (str(found.error)[:8], found.changes) == ("os.close", [])
        os.write(theirs, b"a")
        assert os.read(ours, 1) == b"a"
    finally:
        os.close(ours)
        os.close(theirs)


def test_it_closes_its_own_also_when_it_is_called_again():
    opened = called(os.open, os.devnull, os.O_RDONLY).value
    assert called(os.fstat, opened).error is None
    closed = called(lambda: os.close(opened))
    assert (closed.error, closed.changes) == (None, [])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened)
    other = os.open(os.devnull, os.O_RDWR)
    try:
        if other != opened:
            os.dup2(other, opened)  # now ours, with the same number
        assert isinstance(called(lambda: os.close(opened)).error, SystemExit)
    finally:
        for descriptor in {other, opened}:
            os.close(descriptor)


def test_functions_that_close_are_the_systems_afterwards():
    close = os.close
    called(len, ())
    assert os.close is close
