"""Every errno has its class and its sentence, and the way back."""

from __future__ import annotations

import errno
import pickle

import pytest

from opencrypto import (
    AuthenticationError,
    CryptoError,
    Cryptop,
    DriverGone,
    SessionMigrated,
)
from opencrypto import exceptions as errors
from opencrypto.exceptions import ERRNO_CLASSES

CLASSES = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, CryptoError)
]


def test_every_errno_has_a_class_a_sentence_and_the_way_back() -> None:
    """The table is total: each errno makes its class, with that errno and a sentence of its own."""
    sentences = {code: errors.sentence(code) for code in ERRNO_CLASSES}
    assert len(set(sentences.values())) == len(ERRNO_CLASSES)
    assert set(errors._SENTENCES) == set(ERRNO_CLASSES)
    for code, cls in ERRNO_CLASSES.items():
        error = errors.error_from_errno(code)
        assert type(error) is cls
        assert (error.errno, error.strerror) == (code, sentences[code])
        assert errno.errorcode[code] in str(error)


def test_a_class_with_an_errno_of_its_own_is_what_that_errno_makes() -> None:
    """A class's own errno leads back to it, or to the class that says more or is its base."""
    for cls in CLASSES:
        made = ERRNO_CLASSES[cls.code]
        same_errno = made.code == cls.code
        assert same_errno
        if cls in ERRNO_CLASSES.values():
            assert issubclass(made, cls) or issubclass(cls, made)


def test_an_unknown_errno_is_an_operation_error() -> None:
    """What no class stands for is an OperationError that keeps its errno."""
    error = errors.error_from_errno(errno.EPIPE)
    assert type(error) is errors.OperationError
    assert error.errno == errno.EPIPE


def test_errors_are_oserrors_and_survive_pickling() -> None:
    """`except OSError` takes them all; class, errno, sentence and extras come back."""
    for cls in CLASSES:
        error = cls("a sentence")
        assert isinstance(error, OSError)
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        assert (type(again), again.errno, again.strerror) == (cls, cls.code, "a sentence")
    moved = pickle.loads(pickle.dumps(SessionMigrated("moved", 7)))  # noqa: S301 - our own
    assert moved.new_sid == 7


def test_check_raises_what_etype_says() -> None:
    """etype 0 raises nothing; EAGAIN carries the new SID; the sentence is the request's."""
    crp = Cryptop(sid=9)
    crp.check()
    crp.fail(errno.EAGAIN)
    with pytest.raises(SessionMigrated) as moved:
        crp.check()
    assert moved.value.new_sid == 9
    crp.fail(errno.EBADMSG, "discard it")
    with pytest.raises(AuthenticationError, match="discard it"):
        crp.check()
    crp.fail(errno.ENODEV)
    with pytest.raises(DriverGone):
        crp.check()
