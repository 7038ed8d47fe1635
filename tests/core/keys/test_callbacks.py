"""Where the end of a key request is told, and what a callback may do."""

import threading

from opencrypto import (
    CRK_MOD,
    CRYPTO_F_CBIFSYNC,
    CRYPTO_F_CBIMM,
    CRYPTOCAP_F_SYNC,
    Cryptkop,
    Framework,
)
from tests.core.keys.scripted import (
    SOFTWARE,
    Scripted,
    framework,
    go,
    hids,
)

__all__ = ["framework"]


def test_where_callbacks_run(framework: Framework) -> None:
    """From the return queue's thread, unless the request or a synchronous driver say otherwise."""
    framework.attach(Scripted("a", flags=SOFTWARE | CRYPTOCAP_F_SYNC))
    names: list[str] = []
    for flags in (0, CRYPTO_F_CBIMM, CRYPTO_F_CBIFSYNC):
        done = threading.Event()
        krp = Cryptkop.of(CRK_MOD, [5, 3], [8], flags=flags)

        def note(krp: Cryptkop, done: threading.Event = done) -> None:
            names.append(threading.current_thread().name)
            done.set()

        krp.callback = note
        framework.kdispatch(krp)
        assert done.wait(10)
    here = threading.current_thread().name
    assert names == ["opencrypto-returns", here, here]


def test_a_callback_that_raises_stops_nothing(framework: Framework) -> None:
    """It is counted; later ones run."""
    framework.attach(Scripted("a"))

    def broken(krp: Cryptkop) -> None:
        raise ValueError

    framework.kdispatch(Cryptkop.of(CRK_MOD, [5, 3], [8], broken))
    assert hids(go(framework, flags=0)) == [0]
    assert framework.stats.callback_errors == 1


def test_a_callback_may_dispatch_the_same_request_again(framework: Framework) -> None:
    """It is the consumer's when the callback runs."""
    framework.attach(Scripted("a"))
    left = [5]
    done = threading.Event()

    def again(krp: Cryptkop) -> None:
        left[0] -= 1
        if left[0]:
            framework.kdispatch(krp)
        else:
            done.set()

    framework.kdispatch(Cryptkop.of(CRK_MOD, [5, 3], [8], again))
    assert done.wait(10)


def test_over_the_limit_no_request_is_given_out(framework: Framework) -> None:
    """kgetreq fails while too many callbacks wait, and counts it, on its own queue."""
    framework.attach(Scripted("a"))
    framework.sysctl["opencrypto.crypto_ret_kq.maxlen"] = 2
    gate, entered = threading.Event(), threading.Event()

    def slow(krp: Cryptkop) -> None:
        entered.set()
        gate.wait(10)

    framework.kdispatch(Cryptkop.of(CRK_MOD, [5, 3], [8], slow))
    assert entered.wait(10)
    completions = go(framework, 3, flags=0)
    assert framework.sysctl["opencrypto.crypto_ret_kq.len"] == 3
    assert framework.kgetreq() is None
    assert framework.getreq(1) is not None
    assert framework.sysctl["opencrypto.crypto_ret_kq.drops"] == 1
    gate.set()
    for done in completions:
        done.wait()
    assert framework.kgetreq() is not None
