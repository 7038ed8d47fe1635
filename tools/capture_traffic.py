"""The traffic of tools/record-capture: both ends of HTTP downloads and DNS-like questions."""

import functools
import http.server
import random
import socket
import struct
import sys
import threading
import time
import urllib.request
from pathlib import Path

SERVER = "10.9.0.1"
HTTP_PORT = 8080
DNS_PORT = 53
WORDS = (
    "session request queue driver buffer key schedule region inject callback migrate "
    "hint block restart digest cipher authenticator descriptor chain capability tier"
).split()
# Generated, so that the text belongs to nobody; seeded, so that a new recording carries the same.
FILES = {"small.txt": 4_000, "middle.txt": 120_000, "large.txt": 900_000}
QUESTIONS = 600


def text(name: str, size: int) -> str:
    """Lines of ordinary words, always the same for one name."""
    rng = random.Random(name)
    lines: list[str] = []
    while size > 0:
        line = f"{len(lines):06} " + " ".join(rng.choices(WORDS, k=rng.randint(4, 11))) + "\n"
        lines.append(line)
        size -= len(line)
    return "".join(lines)


def name_of(number: int) -> bytes:
    """host<number>.<word>.example in the labels of RFC 1035."""
    labels = (f"host{number}", WORDS[number % len(WORDS)], "example")
    return b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"


def question(number: int) -> bytes:
    """An A query, as a stub resolver sends it."""
    header = struct.pack("!6H", number, 0x0100, 1, 0, 0, 0)
    return header + name_of(number) + struct.pack("!2H", 1, 1)


def answer(query: bytes) -> bytes:
    """One to eight addresses, of the range kept for documentation."""
    number = int.from_bytes(query[:2], "big")
    count = 1 + number % 8
    header = struct.pack("!6H", number, 0x8180, 1, count, 0, 0)
    record = b"\xc0\x0c" + struct.pack("!2HIH", 1, 1, 300, 4)
    addresses = (record + bytes([192, 0, 2, (number + i) % 256]) for i in range(count))
    return header + query[12:] + b"".join(addresses)


def serve(folder: Path) -> None:
    """Answer until killed."""
    for name, size in FILES.items():
        (folder / name).write_text(text(name, size))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    web = http.server.ThreadingHTTPServer((SERVER, HTTP_PORT), handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((SERVER, DNS_PORT))
        while True:
            query, peer = sock.recvfrom(512)
            sock.sendto(answer(query), peer)


def ask() -> None:
    """Download each file, with questions in between, as a browser would."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        deadline = time.monotonic() + 10
        while True:  # the server's start takes a moment; ICMP refusals are part of real traffic
            try:
                sock.connect((SERVER, DNS_PORT))
                sock.send(question(0))
                sock.recv(512)
                urllib.request.urlopen(f"http://{SERVER}:{HTTP_PORT}/small.txt").read()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        numbers = iter(range(1, QUESTIONS + 1))
        for name, size in FILES.items():
            for _, number in zip(range(QUESTIONS // len(FILES)), numbers, strict=False):
                sock.send(question(number))
                if sock.recv(512)[:2] != number.to_bytes(2, "big"):
                    raise RuntimeError(f"answer {number} is not the one asked for")
            with urllib.request.urlopen(f"http://{SERVER}:{HTTP_PORT}/{name}") as page:
                if len(page.read()) < size:
                    raise RuntimeError(f"{name} came short")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(Path(sys.argv[2]))
    else:
        ask()
