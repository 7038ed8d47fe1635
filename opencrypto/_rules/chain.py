"""
A session's chain of algorithms, validated once: what a request on it may then ask for.

Pure: no threads, no drivers. `Chain` is also what the framework keeps of a session, so that it
can open the same one on another driver.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from opencrypto._names import Named
from opencrypto._request.buffer import flat
from opencrypto._request.symmetric import Cryptoini, KeySerial, alg_name
from opencrypto._rules.iv import IvSource
from opencrypto._rules.profile import Profile
from opencrypto.exceptions import UsageError
from opencrypto.xform import AEAD_PARTNERS, FACTS, Facts, Kind


class Chain:
    """
    The algorithms of one session in order, with keys of our own, their facts and lengths.

    Attributes:
        inis: Our copies of the session's parameters; keys are bytearrays, wiped by `wipe`.
        facts: The facts of each algorithm.
        ivlens: Bytes of IV that a request carries for each.
        longest: The most bytes of region that each takes; 0 for any number.
        macs: Bytes of MAC that each injects or verifies; 0 for ciphers.
        profile: What the session promises of its requests.
    """

    __slots__ = (
        "_abandoned", "_users", "facts", "inis", "ivlens", "longest", "macs", "positions",
        "profile",
    )  # fmt: skip

    def __init__(
        self, inis: Iterable[Cryptoini], *, copy: bool = True, profile: Profile | None = None
    ) -> None:
        self.profile = Profile() if profile is None else profile
        if not isinstance(self.profile, Profile):
            raise UsageError(f"a profile is a Profile, not {type(profile).__name__}")
        self.inis: tuple[Cryptoini, ...] = ()
        self.facts: tuple[Facts, ...] = ()
        try:
            for cri in inis:
                for part in _halves(cri):
                    self.inis += (_own(part, weak_keys=self.profile.weak_keys) if copy else part,)
                    self.facts += (FACTS[self.inis[-1].alg],)
            _join_aead(self.inis, self.facts)
            if self.profile.iv_prefix and not any(facts.counter_iv for facts in self.facts):
                raise UsageError("iv_prefix is for IVs that count, and the session makes none")
        except UsageError:
            if copy:
                self.wipe()
            raise
        self.ivlens = tuple(
            facts.ivlen(cri.klen // 8) for cri, facts in zip(self.inis, self.facts, strict=True)
        )
        self.macs = tuple(
            cri.mlen or facts.mac for cri, facts in zip(self.inis, self.facts, strict=True)
        )
        self.longest = tuple(
            facts.longest_region(cri.klen // 8)
            for cri, facts in zip(self.inis, self.facts, strict=True)
        )
        self._users: set[object] = set()  # its changes are single steps, and need no lock
        self._abandoned = False
        self.positions: dict[int, list[int]] = {}
        for position, cri in enumerate(self.inis):
            self.positions.setdefault(cri.alg, []).append(position)
        for cri, facts, ivlen in zip(self.inis, self.facts, self.ivlens, strict=True):
            if ivlen and cri.ivs is None:
                prefix = self.profile.iv_prefix if facts.counter_iv else b""
                cri.ivs = IvSource(
                    ivlen, counter=facts.counter_iv, prefix=prefix, counts=facts.counts
                )

    @classmethod
    def of_session(cls, inis: Iterable[Cryptoini]) -> Chain:
        """Describe parameters that are already a session's own, as a driver is given them."""
        return cls(inis, copy=False)

    def part(self, positions: Sequence[int]) -> Chain:
        """
        Make a chain of some places of this one, with keys of its own.

        The sequences of IVs stay common, so that none comes twice under one key.
        """
        inis = [_own(self.inis[position], weak_keys=True) for position in positions]
        for cri, position in zip(inis, positions, strict=True):
            cri.ivs = self.inis[position].ivs
        chain = Chain(inis, copy=False)
        chain.profile = self.profile
        return chain

    def shorten(self, longest: Iterable[int]) -> None:
        """Take a driver's own longest regions into account, one for each place; 0 for any."""
        self.longest = tuple(
            min(ours, theirs) if ours and theirs else ours or theirs
            for ours, theirs in zip(self.longest, longest, strict=True)
        )

    @property
    def algs(self) -> frozenset[int]:
        """The set of algorithms a driver must have for this chain."""
        return frozenset(self.positions)

    def locate(self, alg: int, occurrence: int) -> int:
        """
        Return the position in the chain of a descriptor's algorithm.

        The n-th descriptor of an algorithm means its n-th place in the chain; where it stands
        there once, every descriptor means that one.

        Raises:
            UsageError: the algorithm is not in the session, or not that often.
        """
        places = self.positions.get(alg)
        if places is None:
            raise UsageError(f"{alg_name(alg)} is not in the session's chain")
        if len(places) == 1:
            return places[0]
        if occurrence >= len(places):
            raise UsageError(f"{alg_name(alg)} is {len(places)} times in the session, not more")
        return places[occurrence]

    def locate_key(self, cri: Cryptoini, taken: Collection[int]) -> int:
        """
        Return the position that a descriptor's key means, of an algorithm that stands there often.

        Keys are compared in constant time, all of them. Of several places with the same key the
        first that is not `taken` is meant.

        Raises:
            UsageError: no place of the algorithm has this key.
        """
        if any(map(key_serial, (cri, *self.inis))):
            raise UsageError("a key given by its serial number tells no algorithms apart")
        from hmac import compare_digest  # with all of hashlib, for chains that few have

        key = bytes(flat(cri.key, "a key"))[: cri.klen // 8]
        same = [
            position
            for position in self.positions[cri.alg]
            if compare_digest(bytes(self.inis[position].key or b""), key)
        ]
        if not same:
            raise UsageError(
                f"the descriptor's key is none of the session's for {alg_name(cri.alg)}"
            )
        return next((position for position in same if position not in taken), same[-1])

    @property
    def abandoned(self) -> bool:
        """Whether its keys are wiped, or will be once nobody holds it."""
        return self._abandoned

    def hold(self, user: object) -> None:
        """Note that a driver has opened a session of this chain."""
        self._users.add(user)

    def release(self, user: object) -> None:
        """Note that a driver has closed that session, the last one of which may have to wipe."""
        self._users.discard(user)
        if self._abandoned and not self._users:
            self.wipe()

    def abandon(self) -> None:
        """Note that no driver will be given this chain again; wipe it when none has it."""
        self._abandoned = True
        if not self._users:
            self.wipe()

    def wipe(self) -> None:
        """Overwrite every key we own with zeros."""
        for cri in self.inis:
            if isinstance(cri.key, bytearray):
                cri.key[:] = bytes(len(cri.key))

    def __repr__(self) -> str:
        return f"<Chain {' + '.join(facts.name for facts in self.facts)}>"


def as_inis(ini: Cryptoini | Iterable[Cryptoini]) -> list[Cryptoini]:
    """
    Return the parameters of a session as a list: of one, of an iterable, or linked by ``cri_next``.

    Raises:
        UsageError: there are none, or something else is among them.
    """
    if not isinstance(ini, Cryptoini):
        inis = list(ini)
    else:
        inis = [ini]
        while (following := inis[-1].cri_next) is not None and following not in inis:
            inis.append(following)
    if not inis:
        raise UsageError("a session needs at least one algorithm; give a Cryptoini")
    for cri in inis:
        if not isinstance(cri, Cryptoini):
            raise UsageError(
                f"a session is made of Cryptoini, not {type(cri).__name__}; "
                "Cryptoini(name, key) makes one"
            )
    return inis


def _halves(cri: Cryptoini) -> tuple[Cryptoini, ...]:
    """Make both halves of an authenticated cipher that is given by its name, once."""
    named = _name_of(cri)
    if named is None or not named.joined:
        return (cri,)
    length = _key_length(cri, FACTS[cri.alg])
    cipher, half = cri.copy(), Cryptoini(named.half(length), cri.key, cri.klen, mlen=cri.mlen)
    cipher.mlen, cipher.named = 0, None
    return cipher, half


def _name_of(cri: Cryptoini) -> Named | None:
    """Return what the parameters were called, unless another algorithm was put in since."""
    return cri.named if cri.named is not None and cri.named.alg == cri.alg else None


def _own(cri: Cryptoini, *, weak_keys: bool) -> Cryptoini:
    facts = FACTS.get(cri.alg)
    if facts is None:
        raise UsageError(f"{alg_name(cri.alg)} is unknown; use a CRYPTO_* constant or a name")
    if any(isinstance(each, bool) for each in (cri.alg, cri.klen, cri.mlen, cri.limit, cri.rnd)):
        raise UsageError(f"{facts.name}: True and False are no numbers here; leave out what is 0")
    length = _key_length(cri, facts)
    named = _name_of(cri)
    if named is not None:
        named.check_key(length)
    if not facts.key_ok(length):
        raise UsageError(f"{facts.name} takes a key of {facts.keys_text()} bytes, not {length}")
    if cri.mlen and (not facts.authenticates or cri.mlen not in facts.macs):
        raise UsageError(f"{facts.name} cannot give a MAC of {cri.mlen} bytes")
    if cri.limit < 0:
        raise UsageError(f"{facts.name}: a limit of {cri.limit} bytes; give 0 or more")
    if cri.limit and facts.kind is not Kind.COMP:
        raise UsageError(f"{facts.name} decompresses nothing; leave limit 0")
    if cri.rnd:
        raise UsageError(f"{facts.name} has no choice of rounds; leave rnd 0")
    if cri.iv is not None:
        raise UsageError(
            f"{facts.name}: an iv belongs to a request; give it to the request's descriptor"
        )
    if facts.halves_differ and not weak_keys and _has_equal_halves(cri, length):
        raise UsageError(
            f"{facts.name}: the two halves of the key are equal, which gives the data away; draw "
            "another, or open the session with Profile(weak_keys=True)"
        )
    key = _own_key(cri, length)
    return Cryptoini(int(cri.alg), key, length * 8, mlen=cri.mlen, limit=cri.limit)


# No function that may raise has the key in a local: a traceback may show those.


def _key_length(cri: Cryptoini, facts: Facts) -> int:
    """Return how many bytes of the given key count: `klen` says so, or else it has all of them."""
    try:
        if key_serial(cri) is not None:
            held = len(cri.key or b"")
        else:
            held = 0 if cri.key is None else len(flat(cri.key, f"{facts.name}: a key"))
        cri.klen | cri.mlen | cri.limit | cri.rnd  # a TypeError, if one is no whole number
    except TypeError:
        raise UsageError(
            f"{facts.name}: klen, mlen, limit and rnd must be whole numbers; leave them 0"
        ) from None
    bits = cri.klen or held * 8
    if bits % 8 or bits < 0:
        raise UsageError(f"{facts.name}: a key of {bits} bits is no whole number of bytes")
    if bits > held * 8:
        raise UsageError(f"{facts.name}: klen says {bits} bits, the key has {held * 8}")
    return bits // 8


def _has_equal_halves(cri: Cryptoini, length: int) -> bool:
    if key_serial(cri) is not None:
        return False  # which its kernel alone could tell
    half = length // 2
    return bytes(flat(cri.key, "a key")[:half]) == bytes(flat(cri.key, "a key")[half:length])


def key_serial(cri: Cryptoini) -> KeySerial | None:
    """Return the serial number that stands for the key, if it does."""
    key: object = cri.key
    return key if isinstance(key, KeySerial) else None


def _own_key(cri: Cryptoini, length: int) -> bytearray | KeySerial:
    serial = key_serial(cri)
    if serial is not None:
        return serial
    whole = bytearray() if cri.key is None else bytearray(flat(cri.key, "a key"))
    if len(whole) == length:
        return whole
    key = whole[:length]
    whole[:] = bytes(len(whole))
    return key


def _join_aead(inis: Sequence[Cryptoini], facts: Sequence[Facts]) -> None:
    ciphers = [n for n, f in enumerate(facts) if f.kind is Kind.AEAD]
    authenticators = [n for n, f in enumerate(facts) if f.kind is Kind.AEAD_AUTH]
    if not ciphers and not authenticators:
        return
    if len(ciphers) != 1 or len(authenticators) != 1:
        names = " + ".join(f.name for f in facts)
        raise UsageError(
            f"{names}: an authenticated cipher goes with exactly one authenticator of its kind, "
            "such as AES_GCM_16 with AES_128_GMAC; or give its name, which is both: aes-128-gcm"
        )
    cipher, authenticator = inis[ciphers[0]], inis[authenticators[0]]
    if authenticator.alg not in AEAD_PARTNERS[cipher.alg]:
        raise UsageError(f"{alg_name(cipher.alg)} does not go with {alg_name(authenticator.alg)}")
    if cipher.key != authenticator.key:
        raise UsageError(
            f"{alg_name(cipher.alg)} and {alg_name(authenticator.alg)} are one algorithm: "
            "give both the same key"
        )
