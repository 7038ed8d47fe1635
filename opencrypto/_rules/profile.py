"""
What a session promises of its requests beforehand, so that a driver can say early what it cannot.

The framework of the BSDs learns only from each request in which direction and in which order its
chain runs, so a device that can encrypt and then authenticate, but not the reverse, has to take
the session and fail its requests. (OpenBSD had flags of drivers for it, and sessions had none.)
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, Self

from opencrypto.exceptions import UsageError

LONGEST_PREFIX: Final = 6
"""Bytes of an IV's prefix, so that two at least are left to count."""


class _Promises(NamedTuple):
    direction: Literal["", "encrypt", "decrypt"] = ""
    ordered: bool = False
    weak_keys: bool = False
    iv_prefix: bytes = b""
    shared: bool = False
    weak_auth: bool = False
    streamed: bool = False


class Profile(_Promises):
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
        iv_prefix: The first bytes, 1 to 6, of the 8 that count in the fresh IVs of a counter mode
            (CTR, GCM, CCM, ChaCha20-Poly1305), where sessions of one key tell their IVs apart by
            it (SP 800-38D, section 8.2.1). Each prefix is for one session of a key, ever; the
            session ends with LimitError when it has used the 256**(8 - n) IVs that are left.
        shared: Whether others may write the buffers while requests are worked on: another thread,
            or a process by shared memory. Chains of several algorithms then work on private
            copies. A mapping (``mmap``), and a view of memory that is no bytearray, bytes or
            array, counts as shared in any session.
        weak_auth: Whether `opencrypto.client.Session` takes authenticators that hardly
            authenticate: an unkeyed digest or NULL_HMAC for a cipher, MACs shorter than 8 bytes
            and tags than 12 (CCM: 8), a MAC made of the cipher's own block cipher under the same
            key. Requests of one's own may have any of them.
        streamed: Whether messages come in pieces (``CRD_F_MORE``): drivers that cannot take the
            chain so are passed over. Without it the first piece finds that out.

    Raises:
        UsageError: `direction` or `iv_prefix` is none of these, or another one is no bool.
    """

    __slots__ = ()

    def __new__(
        cls,
        direction: Literal["", "encrypt", "decrypt"] = "",
        ordered: bool = False,
        weak_keys: bool = False,
        iv_prefix: bytes = b"",
        shared: bool = False,
        weak_auth: bool = False,
        streamed: bool = False,
    ) -> Self:
        """Refuse a direction that no request has, a prefix that no IV has, and what is no bool."""
        made = super().__new__(
            cls, direction, ordered, weak_keys, iv_prefix, shared, weak_auth, streamed
        )
        for name in ("ordered", "weak_keys", "shared", "weak_auth", "streamed"):
            if not isinstance(getattr(made, name), bool):
                raise UsageError(f"{name} is True or False, not {getattr(made, name)!r}")
        if direction not in ("", "encrypt", "decrypt"):
            raise UsageError(f"no direction: {direction!r}; give encrypt, decrypt or nothing")
        if not isinstance(iv_prefix, bytes) or len(iv_prefix) > LONGEST_PREFIX:
            raise UsageError(f"an iv_prefix is bytes, at most {LONGEST_PREFIX}; give some, or none")
        return made

    @property
    def promises(self) -> bool:
        """Whether it promises anything of requests, so that these must be looked at."""
        return bool(self.direction) or self.ordered
