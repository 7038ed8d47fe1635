"""
``opencrypto esp gateway``: a user-space IPsec gateway, until it is told to end.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from opencrypto import CryptoError, Framework, UsageError
from opencrypto.cli import show

if TYPE_CHECKING:
    from opencrypto_esp import SecurityAssociation
    from opencrypto_esp.gateway import Gateway

Sa = Annotated[
    Path,
    typer.Option(
        "--sa",
        metavar="FILE",
        help="File of SAs, each with a direction; read again on SIGHUP. Only the user may read it.",
    ),
]
Tun = Annotated[
    str, typer.Option("--tun", metavar="NAME", help="The TUN device; made if there is none.")
]
StateFile = Annotated[
    Path,
    typer.Option(
        "--state",
        metavar="FILE",
        help="Keep sequence numbers and windows in FILE, so that a restart repeats none.",
    ),
]
User = Annotated[
    str | None,
    typer.Option("--user", help="Become this user once the device and the sockets are open."),
]
Udp = Annotated[
    int | None,
    typer.Option(
        "--udp", metavar="PORT", min=1, max=65535, help="All ESP in UDP (NAT-T), by this port."
    ),
]
Mark = Annotated[
    int,
    typer.Option(
        min=0, max=0xFFFFFFFF, help="Routing mark of what is sent to peers: ip rule ... fwmark."
    ),
]
Mtu = Annotated[
    int | None,
    typer.Option(min=1280, max=65535, help="MTU of the device, in bytes; else what paths take."),
]
Grace = Annotated[
    float,
    typer.Option(
        metavar="SECONDS", min=0, max=86400, help="Receive on SAs that were replaced so long."
    ),
]
Metrics = Annotated[
    int | None,
    typer.Option(
        metavar="PORT", min=1, max=65535, help="Offer Prometheus metrics on 127.0.0.1:PORT."
    ),
]
TestKeys = Annotated[
    bool,
    typer.Option("--test-keys", help="The keys are for tests: send by counter modes with them."),
]

_ENDING: Final = (signal.SIGTERM, signal.SIGINT)


def gateway(
    sa: Sa,
    tun: Tun,
    state: StateFile,
    user: User = None,
    udp: Udp = None,
    mark: Mark = 0,
    mtu: Mtu = None,
    grace: Grace = 30.0,
    metrics: Metrics = None,
    test_keys: TestKeys = False,
) -> None:
    """
    Carry packets between a TUN device and IPsec peers. It speaks no IKE.

    Addresses and routes of the device are the operator's. SIGHUP replaces the SAs by those of FILE,
    SIGTERM and SIGINT end it.
    """
    if not sys.platform.startswith("linux"):
        raise UsageError("the gateway needs Linux: its TUN device and its raw sockets")
    from opencrypto_esp import load_sas
    from opencrypto_esp.gateway import Gateway, Journal, Outer, acting_as, give_up, in_udp, udp_port
    from opencrypto_esp.gateway import Tun as Device
    from opencrypto_esp.gateway import user as named

    def read() -> list[SecurityAssociation]:
        loaded = load_sas(sa, remark=show.warn)
        return loaded if udp is None else in_udp(loaded, udp)

    who = named(user) if user is not None else None
    if who is None and os.geteuid() == 0:
        show.warn("it goes on as root; name a --user who may do nothing else")
    with ExitStack() as held:
        with acting_as(who):
            _check_readable(user)
            sas = read()
            journal = Journal(state)
        held.callback(journal.close)
        device = held.enter_context(Device(tun))
        outer = held.enter_context(Outer(udp=udp_port(sas), mark=mark))
        outer.check(sas)
        device.set_up(mtu or outer.fitting(sas))
        give_up(who)
        framework = held.enter_context(_framework(as_another=who is not None))
        if metrics is not None:
            held.enter_context(_scraped(framework, metrics))
        work = held.enter_context(
            Gateway(
                framework, device, outer, sas, journal,
                reload=read, say=show.warn, test_keys=test_keys, grace=grace,
            )
        )  # fmt: skip
        held.enter_context(_told_by_signals(work))
        show.warn(_begun(sas, device.name))
        work.run()


def _check_readable(user: str | None) -> None:
    """See that whoever we become can go on importing: drivers are loaded when they are wanted."""
    for path in (os.__file__, __file__):
        if not os.access(path, os.R_OK, effective_ids=True):
            raise UsageError(
                f"{user} cannot read {path}; use a Python, and an opencrypto, that all can read"
            )


def _begun(sas: Sequence[SecurityAssociation], device: str) -> str:
    return f"{len(sas)} SAs are carried by {device}; pid {os.getpid()}"


@contextmanager
def _framework(*, as_another: bool) -> Iterator[Framework]:
    """Open a framework with a control socket, for those who watch it and change its drivers."""
    if as_another:
        os.environ.pop("XDG_RUNTIME_DIR", None)  # it is that of who started us
    asked = os.environ.get("OPENCRYPTO_CONTROL")
    try:
        framework = Framework(control=None if asked else True)
    except CryptoError as error:
        if asked:
            raise
        show.warn(f"there is no control socket: {error.strerror}")
        framework = Framework()
    with framework:
        yield framework


@contextmanager
def _scraped(framework: Framework, port: int) -> Iterator[None]:
    """Answer Prometheus."""
    try:
        from opencrypto.metrics import serving
    except ModuleNotFoundError:
        raise UsageError(
            "metrics need prometheus-client: pip install 'opencrypto[metrics]'"
        ) from None
    with serving(framework, port):
        yield


@contextmanager
def _told_by_signals(work: Gateway) -> Iterator[None]:
    """Have signals end it and renew its SAs."""
    before: dict[signal.Signals, Any] = {}
    try:
        for number in _ENDING:
            before[number] = signal.signal(number, lambda *_: work.stop())
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda *_: work.renew_soon())
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
