"""
Bytes over TCP, and the SHA-256 of them at each end.

``transfer.py receive ADDRESS`` prints a port, and at the end the hash; ``send ADDRESS PORT
OCTETS`` prints the hash when the other end has closed.
"""

import hashlib
import random
import socket
import sys

PIECE = 1 << 16


def receive(address: str) -> None:
    """Take one connection."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    seen = hashlib.sha256()
    with socket.create_server((address, 0), family=family) as server:
        print(server.getsockname()[1], flush=True)
        connection, _ = server.accept()
        with connection:
            while data := connection.recv(PIECE):
                seen.update(data)
    print(seen.hexdigest())


def send(address: str, port: int, octets: int) -> None:
    """Send what cannot be guessed."""
    chance = random.Random(octets)
    pieces = [chance.randbytes(PIECE) for _ in range(64)]
    seen = hashlib.sha256()
    with socket.create_connection((address, port), timeout=60) as connection:
        left = octets
        while left:
            piece = chance.choice(pieces)[:left]
            seen.update(piece)
            connection.sendall(piece)
            left -= len(piece)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)  # the other end closes when it has all
    print(seen.hexdigest())


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        receive(sys.argv[2])
    else:
        send(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
