"""
What other programs call the algorithms of ESP: the Linux kernel, Wireshark, and OpenSSL.

Sources: net/xfrm/xfrm_algo.c of Linux (names, and the ICVs that go without saying), the choices
of Wireshark's table of ESP SAs, EVP names of OpenSSL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LINUX_ENCRYPTIONS: Final[Mapping[str, str]] = {
    "cbc(aes)": "aes-cbc",
    "cbc(des3_ede)": "3des-cbc",
    "rfc3686(ctr(aes))": "aes-ctr",
    "ecb(cipher_null)": "null",
    "cbc(des)": "des-cbc",
    "cbc(blowfish)": "blowfish-cbc",
    "cbc(cast5)": "cast-cbc",
    "cbc(camellia)": "camellia-cbc",
}
"""What the kernel encrypts with, by its names."""

LINUX_AEADS: Final[Mapping[tuple[str, int], str]] = {
    **{("rfc4106(gcm(aes))", 8 * icv): f"aes-gcm-{icv}" for icv in (16, 12, 8)},
    **{("rfc4309(ccm(aes))", 8 * icv): f"aes-ccm-{icv}" for icv in (16, 12, 8)},
    ("rfc4543(gcm(aes))", 128): "aes-gmac",
    ("rfc7539esp(chacha20,poly1305)", 128): "chacha20-poly1305",
}
"""Its combined modes, by name and **bits** of ICV."""

LINUX_INTEGRITIES: Final[Mapping[tuple[str, int], str]] = {
    ("hmac(sha256)", 128): "hmac-sha2-256-128",
    ("hmac(sha384)", 192): "hmac-sha2-384-192",
    ("hmac(sha512)", 256): "hmac-sha2-512-256",
    ("hmac(sha1)", 96): "hmac-sha1-96",
    ("hmac(md5)", 96): "hmac-md5-96",
    ("hmac(sha256)", 96): "hmac-sha2-256-96",
    ("hmac(rmd160)", 96): "hmac-ripemd160-96",
    ("xcbc(aes)", 96): "aes-xcbc-96",
    ("cmac(aes)", 96): "aes-cmac-96",
}
"""What it authenticates with, by name and **bits** of ICV."""

LINUX_ICVS: Final[Mapping[str, int]] = {"hmac(sha384)": 192, "hmac(sha512)": 256}
"""**Bits** of ICV that go without saying; of all others 96, of SHA-256 too."""

LINUX_ALIASES: Final[Mapping[str, str]] = {
    "aes": "cbc(aes)",
    "des3_ede": "cbc(des3_ede)",
    "cipher_null": "ecb(cipher_null)",
    "des": "cbc(des)",
    "blowfish": "cbc(blowfish)",
    "cast5": "cbc(cast5)",
    "cast128": "cbc(cast5)",
    "md5": "hmac(md5)",
    "sha1": "hmac(sha1)",
    "sha256": "hmac(sha256)",
    "sha384": "hmac(sha384)",
    "sha512": "hmac(sha512)",
}
"""Older names, which it still takes."""

WIRESHARK_ENCRYPTIONS: Final[Mapping[str, str]] = {
    "NULL": "null",
    "TripleDES-CBC [RFC2451]": "3des-cbc",
    "AES-CBC [RFC3602]": "aes-cbc",
    "AES-CTR [RFC3686]": "aes-ctr",
    "DES-CBC [RFC2405]": "des-cbc",
    "CAST5-CBC [RFC2144]": "cast-cbc",
    "BLOWFISH-CBC [RFC2451]": "blowfish-cbc",
    "AES-GCM with 8 octet ICV [RFC4106]": "aes-gcm-8",
    "AES-GCM with 12 octet ICV [RFC4106]": "aes-gcm-12",
    "AES-GCM with 16 octet ICV [RFC4106]": "aes-gcm-16",
    "ChaCha20 with Poly1305 [RFC7634]": "chacha20-poly1305",
}
"""What Wireshark decrypts."""

WIRESHARK_INTEGRITIES: Final[Mapping[str, str]] = {
    "HMAC-SHA-1-96 [RFC2404]": "hmac-sha1-96",
    "HMAC-SHA-256-96 [draft-ietf-ipsec-ciph-sha-256-00]": "hmac-sha2-256-96",
    "HMAC-SHA-256-128 [RFC4868]": "hmac-sha2-256-128",
    "HMAC-SHA-384-192 [RFC4868]": "hmac-sha2-384-192",
    "HMAC-SHA-512-256 [RFC4868]": "hmac-sha2-512-256",
    "HMAC-MD5-96 [RFC2403]": "hmac-md5-96",
    "MAC-RIPEMD-160-96 [RFC2857]": "hmac-ripemd160-96",
}
"""What Wireshark verifies."""

WIRESHARK_ICVS: Final[Mapping[str, int]] = {
    f"ANY {8 * icv} bit authentication [no checking]": icv for icv in (8, 12, 16, 24, 32)
}
"""What it cuts off unverified: **bytes** of ICV."""

OPENSSL_ENCRYPTIONS: Final[Mapping[str, str]] = {
    "3des": "3des-cbc",
    "des3": "3des-cbc",
    "des-ede3": "3des-cbc",
    "des": "des-cbc",
    "bf": "blowfish-cbc",
    "blowfish": "blowfish-cbc",
    "cast": "cast-cbc",
    "cast5": "cast-cbc",
    "cast128": "cast-cbc",
    "none": "null",
    **{f"aes{dash}{bits}": "aes-cbc" for bits in (128, 192, 256) for dash in ("", "-")},
    **{f"camellia{dash}{bits}": "camellia-cbc" for bits in (128, 192, 256) for dash in ("", "-")},
}
"""OpenSSL's names of ciphers, without the ``-cbc`` that may follow."""
