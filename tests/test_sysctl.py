"""The tree of names: what is read, what is written, and what is refused."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from opencrypto import (
    UsageError,
)
from tests.toy import stepped


def test_names_are_read_written_and_checked() -> None:
    """Written values are read back; a wrong type, range, name or direction is refused."""
    with stepped() as fw:
        tree = fw.sysctl
        name = "kern.cryptodevallowsoft"
        for value in (-1, 0, 1):
            tree[name] = value
            assert tree[name] == value
        refused: list[tuple[str, Any, int, str]] = [
            (name, 2, errno.EINVAL, "takes -1 to 1, not 2"),
            (name, "1", errno.EINVAL, "takes an integer, not str"),
            (name, True, errno.EINVAL, "takes an integer, not bool"),
            ("opencrypto.crypto_ret_q.len", 1, errno.EPERM, "is read-only"),
            ("kern.cryptodevalowsoft", 1, errno.ENOENT, f"did you mean {name}"),
        ]
        for wrong, bad, code, sentence in refused:
            with pytest.raises(UsageError, match=sentence) as refusal:
                tree[wrong] = bad
            assert refusal.value.errno == code
        assert tree[name] == 1
        with pytest.raises(KeyError):
            tree["no.such.name"]
        with pytest.raises(UsageError, match="cannot be deleted"):
            del tree[name]
        for each in ("kern.usercrypto", "kern.userasymcrypto", name):
            assert each in tree
        for queue in ("crypto_ret_q", "crypto_ret_kq"):
            for leaf in ("len", "maxlen", "drops"):
                assert f"opencrypto.{queue}.{leaf}" in tree
