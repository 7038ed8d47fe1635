"""
A card that is not there, as a process of its own: a driver reaches it by a socket, and by no more.

    python card_server.py PATH DELAY

Lines of JSON come in and go out. It has keys by number, for each who is connected; it works on one
job after the other, each for DELAY seconds; it dies when it is killed.
"""

from __future__ import annotations

import hmac
import json
import socket
import socketserver
import sys
import time

from Crypto.Cipher import AES

DELAY = float(sys.argv[2])


class Talk(socketserver.StreamRequestHandler):
    """One driver's connection."""

    def setup(self) -> None:
        super().setup()
        self.keys: dict[int, bytes] = {}

    def handle(self) -> None:
        for line in self.rfile:
            job = json.loads(line)
            answer = self.answer(job)
            if answer is not None:
                self.wfile.write(json.dumps({"id": job["id"], "data": answer.hex()}).encode())
                self.wfile.write(b"\n")

    def answer(self, job: dict[str, object]) -> bytes | None:
        number = int(str(job["key"]))
        if job["op"] == "load":
            self.keys[number] = bytes.fromhex(str(job["data"]))
            return None
        if job["op"] == "forget":
            self.keys.pop(number, None)
            return None
        time.sleep(DELAY)
        key, data = self.keys[number], bytes.fromhex(str(job["data"]))
        if job["op"] == "mac":
            return hmac.digest(key, data, "sha256")
        cipher = AES.new(key, AES.MODE_CBC, bytes.fromhex(str(job["iv"])))
        return cipher.encrypt(data) if job["op"] == "encrypt" else cipher.decrypt(data)


class Card(socketserver.ThreadingUnixStreamServer):
    """Listens for drivers."""

    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever hangs up has his reasons."""
        assert isinstance(request, socket.socket)


with Card(sys.argv[1], Talk) as card:
    print("ready", flush=True)
    card.serve_forever()
