"""
The prefixed field names of ``<opencrypto/cryptodev.h>``, as aliases on the same objects.

A request carries both vocabularies (``crp.etype`` and ``crp.crp_etype``), so that a consumer
written one way and a driver written the other meet over one object. Nothing here has state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class Alias(Generic[T]):
    """Another name for the attribute `target` of the same object."""

    __slots__ = ("target",)

    def __init__(self, target: str) -> None:
        self.target = target

    @overload
    def __get__(self, instance: None, owner: type) -> Alias[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> T | Alias[T]:
        if instance is None:
            return self
        value: T = getattr(instance, self.target)
        return value

    def __set__(self, instance: object, value: T) -> None:
        setattr(instance, self.target, value)


def linked(items: Iterable[Any]) -> Any:
    """Link items by their ``_next`` in order and return the first, or None."""
    first = last = None
    for item in items:
        item._next = None
        if last is None:
            first = item
        else:
            last._next = item
        last = item
    return first


def unlinked(first: Any) -> list[Any]:
    """Walk a chain linked by ``_next`` into a list. A loop in it ends the walk."""
    items: list[Any] = []
    seen: set[int] = set()
    while first is not None and id(first) not in seen:
        seen.add(id(first))
        items.append(first)
        first = first._next
    return items


def own_arguments(struct: type, named: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """
    Split keywords of a constructor into its own names and the fields to set after it.

    ``cri_alg=`` becomes ``alg=``; links (``cri_next=``) and what no constructor takes
    (``crp_ilen=``) is set on the new object.

    Raises:
        TypeError: one of them is no field of the structure.
    """
    own = set(struct.__init__.__code__.co_varnames)  # type: ignore[misc]  # of a class of ours
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for name, value in named.items():
        field = getattr(struct, name, None)
        if field is None and name not in own:
            raise TypeError(f"{struct.__name__.lower()} has no field {name!r}")
        plain = field.target if isinstance(field, Alias) else name
        if plain in own:
            before[plain] = value
        else:
            after[name] = value
    return before, after


class CryptoiniNames:
    """``struct cryptoini``."""

    __slots__ = ()
    cri_alg: Alias[int] = Alias("alg")
    cri_klen: Alias[int] = Alias("klen")
    cri_rnd: Alias[int] = Alias("rnd")
    cri_key: Alias[Any] = Alias("key")
    cri_iv: Alias[Any] = Alias("iv")
    cri_next: Alias[Any] = Alias("_next")


class CryptodescNames:
    """``struct cryptodesc``, with the macros that reach into its init record."""

    __slots__ = ()
    crd_skip: Alias[int] = Alias("skip")
    crd_len: Alias[int] = Alias("len")
    crd_inject: Alias[int] = Alias("inject")
    crd_flags: Alias[int] = Alias("flags")
    crd_next: Alias[Any] = Alias("_next")
    crd_alg: Alias[int] = Alias("alg")
    crd_klen: Alias[int] = Alias("klen")
    crd_rnd: Alias[int] = Alias("rnd")
    crd_key: Alias[Any] = Alias("key")
    crd_iv: Alias[Any] = Alias("iv")

    @property
    def CRD_INI(self) -> Any:  # noqa: N802 - the name of the page
        """The init record, which is in the descriptor: setting it copies, as in C."""
        return getattr(self, "ini", None)

    @CRD_INI.setter
    def CRD_INI(self, ini: Any) -> None:  # noqa: N802 - as above
        setattr(self, "ini", ini.copy())  # noqa: B010 - the slot is the subclass's


class CryptopNames:
    """``struct cryptop``; `crp_desc` is the first descriptor, linked by ``crd_next``."""

    __slots__ = ()
    crp_sid: Alias[int] = Alias("sid")
    crp_ilen: Alias[int] = Alias("ilen")
    crp_olen: Alias[int] = Alias("olen")
    crp_etype: Alias[int] = Alias("etype")
    crp_flags: Alias[int] = Alias("flags")
    crp_buf: Alias[Any] = Alias("buf")
    crp_opaque: Alias[Any] = Alias("opaque")
    crp_callback: Alias[Any] = Alias("callback")
    crp_mac: Alias[Any] = Alias("mac")

    @property
    def crp_next(self) -> None:
        """Queue linkage; queues here are the framework's own, so there is never a next."""
        return None

    @property
    def crp_desc(self) -> Any:
        """The first descriptor of the chain."""
        return linked(getattr(self, "desc", None) or ())

    @crp_desc.setter
    def crp_desc(self, first: Any) -> None:
        setattr(self, "desc", unlinked(first))  # noqa: B010 - the slot is the subclass's


class CrparamNames:
    """``struct crparam``."""

    __slots__ = ()
    crp_p: Alias[Any] = Alias("p")
    crp_nbits: Alias[int] = Alias("nbits")


class CryptkopNames:
    """``struct cryptkop``."""

    __slots__ = ()
    krp_op: Alias[int] = Alias("op")
    krp_status: Alias[int] = Alias("status")
    krp_iparams: Alias[int] = Alias("iparams")
    krp_oparams: Alias[int] = Alias("oparams")
    krp_hid: Alias[int] = Alias("hid")
    krp_param: Alias[list[Any]] = Alias("param")
    krp_callback: Alias[Any] = Alias("callback")
    krp_opaque: Alias[Any] = Alias("opaque")
    krp_flags: Alias[int] = Alias("flags")

    @property
    def krp_next(self) -> None:
        """Queue linkage; never set, as in `CryptopNames.crp_next`."""
        return None
