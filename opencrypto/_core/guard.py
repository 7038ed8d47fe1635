"""
What stands before a driver's ``process`` and completes a request that it should never see.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from opencrypto._request.symmetric import Cryptop
from opencrypto._rules.chain import Chain
from opencrypto._rules.check import broken_promise, check, refuse_pieces
from opencrypto._rules.lending import Borrowed, lend
from opencrypto.constants import ERESTART
from opencrypto.driver import Process
from opencrypto.exceptions import CryptoError

Done = Callable[[Cryptop], None]


def checked(chain: Chain, process: Process, done: Done, alignment: int = 1) -> Process:
    """
    Put the framework's checks before a driver's ``process``.

    It then works on a copy where the request's memory may be shared, or is not aligned as the
    driver wants it (`_rules.lending`). Most requests have the usual shape, in memory of this
    process alone: a look at them will do.
    """
    from opencrypto._rules.shapes import OF_MALFORMED, recognise  # with hmac, for the first session

    is_sound = None if chain.profile.shared or alignment > 1 else recognise(chain)

    def guarded(crp: Cryptop, hint: int) -> int:
        try:
            loan = lend(check(crp, chain), chain, alignment)
        except CryptoError as error:
            crp.fail_for(error)
            done(crp)
            return 0
        if loan is None:
            return process(crp, hint)
        borrowed = Borrowed(crp, loan)
        answer = process(crp, hint)
        if answer == ERESTART:
            borrowed.undo(crp, done=False)
        return answer

    if is_sound is None:
        return guarded

    def quick(crp: Cryptop, hint: int) -> int:
        try:
            sound = is_sound(crp)
        except OF_MALFORMED:
            sound = False  # as is said in `guarded`
        return process(crp, hint) if sound else guarded(crp, hint)

    return quick


def without_pieces(process: Process) -> Process:
    """
    Find pieces of streams before they come to a ``process`` that hands requests to other threads.

    There nobody would hear that it is one. A driver that answers at once finds that out by itself.
    """

    def guarded(crp: Cryptop, hint: int) -> int:
        try:
            refuse_pieces(crp)
        except (AttributeError, TypeError):
            pass  # it is malformed, which the driver says
        return process(crp, hint)

    return guarded


def promised(chain: Chain, process: Process, done: Done) -> Process:
    """Hold requests to the session's profile, if that says anything of them."""
    if chain.profile.shared:
        process = checked(chain, process, done)
    if not chain.profile.promises:
        return process

    def guarded(crp: Cryptop, hint: int) -> int:
        try:
            refuse_pieces(crp)  # of which the first is held to it where its message is begun
            reason = broken_promise(crp, chain)
        except CryptoError as error:
            reason = error.strerror or ""
        if not reason:
            return process(crp, hint)
        crp.fail(errno.EINVAL, reason)
        done(crp)
        return 0

    return guarded
