"""
Bytes over TCP, up and down, and the SHA-256 of them at each end.

``transfer.py serve ADDRESS UP DOWN`` prints a port and, at the end, two hashes; so does
``transfer.py use ADDRESS PORT UP DOWN``, which connects to it, sends, and then receives.
"""

import hashlib
import random
import socket
import sys

PIECE = 1 << 16


def receive(connection: socket.socket, octets: int) -> str:
    """Receive so many bytes."""
    seen = hashlib.sha256()
    while octets:
        data = connection.recv(min(PIECE, octets))
        if not data:
            break
        seen.update(data)
        octets -= len(data)
    return seen.hexdigest()


def send(connection: socket.socket, octets: int) -> str:
    """Send what cannot be guessed."""
    chance = random.Random(octets)
    pieces = [chance.randbytes(min(PIECE, octets or 1)) for _ in range(16)]
    seen = hashlib.sha256()
    while octets:
        piece = chance.choice(pieces)[:octets]
        seen.update(piece)
        connection.sendall(piece)
        octets -= len(piece)
    return seen.hexdigest()


def serve(address: str, up: int, down: int) -> None:
    """Take one connection."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server:
        print(server.getsockname()[1], flush=True)
        server.settimeout(60)
        connection, _ = server.accept()
        with connection:
            connection.settimeout(60)
            print(receive(connection, up), send(connection, down), flush=True)


def use(address: str, port: int, up: int, down: int) -> None:
    """Connect to it."""
    with socket.create_connection((address, port), timeout=60) as connection:
        print(send(connection, up), receive(connection, down))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], *map(int, sys.argv[3:]))
    else:
        use(sys.argv[2], *map(int, sys.argv[3:]))
