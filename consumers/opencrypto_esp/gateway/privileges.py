"""
Giving privileges up: what only root may is done first, and the rest as somebody who may nothing.

An open device and open sockets go on working for whoever has them, so nothing is kept.
"""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from opencrypto import CryptoError, UsageError

# linux/prctl.h
_SET_DUMPABLE: Final = 4
_SET_NO_NEW_PRIVS: Final = 38


class User(NamedTuple):
    """
    A user to run as.

    Attributes:
        name: The name.
        uid: The user id, not 0.
        gid: The id of the user's own group.
        groups: The ids of all groups.
    """

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


def user(name: str) -> User:
    """
    Look a user up.

    Raises:
        UsageError: there is none, it is root, or only root could become it.
    """
    try:
        found = pwd.getpwnam(name)
    except (KeyError, ValueError):
        raise UsageError(f"there is no user {name!r}; make one: useradd --system {name}") from None
    if found.pw_uid == 0:
        raise UsageError("to run as root is to give nothing up; name another user")
    if os.geteuid() not in {0, found.pw_uid}:
        raise UsageError(f"only root can become {name}; run it as root, or leave --user out")
    groups = tuple(os.getgrouplist(name, found.pw_gid))
    return User(name, found.pw_uid, found.pw_gid, groups)


@contextmanager
def acting_as(who: User | None) -> Iterator[None]:
    """Open files as a user does, for a moment; as the one we are if None."""
    if who is None or os.geteuid() != 0:
        yield
        return
    uid, gid, groups = os.geteuid(), os.getegid(), os.getgroups()
    os.setgroups(who.groups)
    os.setegid(who.gid)
    os.seteuid(who.uid)
    try:
        yield
    finally:
        os.seteuid(uid)
        os.setegid(gid)
        os.setgroups(groups)


def give_up(who: User | None) -> None:
    """
    Become a user for good, without one capability of root, and never gain any again.

    With None the user stays; in either case no program that is started can gain privileges, and no
    other process of the user can look into the memory, which has keys.

    Raises:
        CryptoError: privileges are left, which must not be.
    """
    if who is not None and os.geteuid() == 0:
        os.setgroups(who.groups)
        os.setresgid(who.gid, who.gid, who.gid)
        os.setresuid(who.uid, who.uid, who.uid)
        if os.getresuid() != (who.uid,) * 3 or os.getresgid() != (who.gid,) * 3 or _can_return():
            raise CryptoError(f"privileges are left after becoming {who.name}; nothing is begun")
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    for option, value in ((_SET_NO_NEW_PRIVS, 1), (_SET_DUMPABLE, 0)):
        if prctl(option, value, 0, 0, 0):
            problem = os.strerror(ctypes.get_errno())
            raise CryptoError(f"privileges cannot be given up: {problem}")


def _can_return() -> bool:
    try:
        os.setuid(0)
    except PermissionError:
        return False
    return True


def described(who: User) -> str:
    """Name a user and its group."""
    try:
        group = grp.getgrgid(who.gid).gr_name
    except KeyError:
        group = str(who.gid)
    return f"{who.name}:{group}"
