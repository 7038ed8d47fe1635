"""
What a session promises of its requests beforehand, so that a driver can say early what it cannot.

The framework of the BSDs learns only from each request in which direction and in which order its
chain runs, so a device that can encrypt and then authenticate, but not the reverse, has to take
the session and fail its requests. (OpenBSD had flags of drivers for it, and sessions had none.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from opencrypto.exceptions import UsageError


@dataclass(frozen=True, slots=True)
class Profile:
    """
    A session's promise; by default it says nothing, and requests may be anything.

    Requests that break the promise end with EINVAL, their buffers untouched. A driver reads it in
    `Driver.refusal`.

    Attributes:
        direction: The way all requests go, or an empty string for both ways.
        ordered: Whether requests that encrypt (or compress, or make MACs) have their descriptors
            in the order of the chain, and those that decrypt in the reverse of it. So the chain
            AES_CBC + SHA1_HMAC is encrypt-then-MAC, and SHA1_HMAC + AES_CBC is MAC-then-encrypt.
        weak_keys: Whether a key may be one that its algorithm's standard forbids: for XTS, one
            whose halves are equal (SP 800-38E, FIPS 140-3 IG C.I). Such keys occur in published
            vectors. DES takes its weak keys in any case, as it does in BSD.

    Raises:
        UsageError: `direction` is none of these, or another one is neither True nor False.
    """

    direction: Literal["", "encrypt", "decrypt"] = ""
    ordered: bool = False
    weak_keys: bool = False

    def __post_init__(self) -> None:
        """Refuse a direction that no request has, and what is no yes or no."""
        for name in ("ordered", "weak_keys"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name} is True or False, not {getattr(self, name)!r}")
        if self.direction not in ("", "encrypt", "decrypt"):
            raise UsageError(f"no direction: {self.direction!r}; give encrypt, decrypt or nothing")

    @property
    def promises(self) -> bool:
        """Whether it promises anything of requests, so that these must be looked at."""
        return bool(self.direction) or self.ordered
