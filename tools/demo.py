"""
`make demo`: a real capture is protected and unprotected while a driver is unplugged half way.

Exit status 0 if every packet came back byte for byte, else 1.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from opencrypto import Framework
from opencrypto_esp import Direction, Esp, Flow, SecurityAssociation, one_way
from opencrypto_esp.capture import ip_packets, read_capture

RUN_IN_UML = Path(__file__).with_name("run-in-uml")
INSIDE = "OPENCRYPTO_KERNEL" in os.environ
CAPTURE = Path(__file__).parents[1] / "tests" / "data" / "capture.pcap"


def associations() -> list[tuple[str, SecurityAssociation]]:
    """Return what is shown, each with keys made for this run."""
    return [
        (
            "AES-128-CBC + HMAC-SHA1-96",
            SecurityAssociation(
                spi=0x1001,
                encryption="aes-cbc",
                encryption_key=os.urandom(16),
                integrity="hmac-sha1-96",
                integrity_key=os.urandom(20),
            ),
        ),
        (
            "AES-128-GCM-16",
            SecurityAssociation(spi=0x1002, encryption="aes-gcm-16", encryption_key=os.urandom(20)),
        ),
    ]


def packets_of(path: Path) -> list[bytes]:
    """Return the IP packets of a capture."""
    with path.open("rb", buffering=0) as file:
        return list(ip_packets(read_capture(file, str(path))))


def show(sent: Flow, received: Flow, seconds: float) -> None:
    """Print what happened."""
    served = sent.drivers + received.drivers
    rows = {
        "packets": f"{sent.packets} protected, {received.packets} unprotected",
        "bytes": f"{sent.octets_in} in, {sent.octets_out} protected, {received.octets_out} out",
        "served by": ", ".join(f"{name} {n}" for name, n in served.most_common()),
        "migrations": sent.migrations + received.migrations,
        "EAGAINs resubmitted": sent.resubmitted + received.resubmitted,
        "time": f"{seconds:.3f} s, {(sent.packets + received.packets) / seconds:,.0f} packets/s",
    }
    for name, value in rows.items():
        print(f"  {name:<20} {value}")
    for reason, n in (sent.dropped + received.dropped).items():
        print(f"  dropped: {reason.value:<11} {n}")


def run(packets: list[bytes], sa: SecurityAssociation) -> bool:
    """Protect all, unplugging the driver in use half way; unprotect all; compare."""
    half = len(packets) // 2
    with (
        Framework() as framework,
        Esp(framework, one_way([sa], Direction.OUT)) as sender,
        Esp(framework, one_way([sa], Direction.IN)) as receiver,
    ):
        # Both are open before the driver leaves, so the sessions of both must move.
        sender.open()
        receiver.open()
        start = time.perf_counter()
        results = list(sender.protect_many(packets[:half]))
        (leaving,) = sender.counters().protected.drivers
        framework.detach(leaving)
        results += sender.protect_many(packets[half:])
        back = list(receiver.unprotect_many(result.packet or b"" for result in results))
        seconds = time.perf_counter() - start
        sent, received = sender.counters().protected, receiver.counters().unprotected
    differing = sum(result.packet != packet for packet, result in zip(packets, back, strict=True))
    print(f"  {'unplugged':<20} {leaving}, after {half} packets")
    show(sent, received, seconds)
    lost = len(packets) - received.packets
    print(f"  {'lost':<20} {lost}\n  {'differing':<20} {differing}")
    return bool(sent.migrations) and not lost and not differing


def in_a_kernel(path: Path) -> bool:
    """
    Show the same on a kernel that has AF_ALG, with the kernel's own algorithms unplugged.

    Only where User Mode Linux is installed (Debian's package user-mode-linux); else it is no part.
    """
    if INSIDE or shutil.which("linux.uml") is None:
        return True
    print("\n\nThe same inside User Mode Linux, by the kernel's algorithms and then by swcrypto:\n")
    command = [
        str(RUN_IN_UML), "env", "OPENCRYPTO_BLOCK=openssl", sys.executable, __file__, str(path),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    _, _, ours = done.stdout.partition(path.name)  # what comes before is the kernel's
    print("\n".join(line for line in ours.splitlines()[1:] if not line.startswith("reboot:")))
    return done.returncode == 0


def main() -> int:
    """Show every association on the capture named on the command line, or ours."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else CAPTURE
    packets = packets_of(path)
    print(f"{path.name}: {len(packets)} packets, {sum(map(len, packets))} bytes")
    well = True
    for title, sa in associations():
        print(f"\n{title}")
        well &= run(packets, sa)
    well &= in_a_kernel(path)
    if not INSIDE:  # the one outside has the last word
        print("\nevery packet came back byte for byte" if well else "\nFAILED: see above")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
