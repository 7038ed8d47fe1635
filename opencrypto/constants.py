"""
NetBSD's names and numbers, as ``<opencrypto/cryptodev.h>`` has them.

Algorithms and key operations are `IntEnum` members, for people to read. Flags are plain
integers: an ``IntFlag`` ``&`` costs many times an integer one, and flags are tested on every
request. Numbers from 64 upwards, and names marked *ours*, do not exist in NetBSD.
"""

import errno
from enum import IntEnum
from typing import Final

__all__ = [
    "AALG_MAX_RESULT_LEN",
    "Alg",
    "CRD_F_COMP",
    "CRD_F_DSA_SHA_NEEDED",
    "CRD_F_ENCRYPT",
    "CRD_F_IV_EXPLICIT",
    "CRD_F_IV_PRESENT",
    "CRD_F_MORE",
    "CRD_F_VERIFY",
    "CRD_LEN_REST",
    "CRF_DH_COMPUTE_KEY",
    "CRF_DSA_SIGN",
    "CRF_DSA_VERIFY",
    "CRF_MOD",
    "CRF_MOD_ADD",
    "CRF_MOD_ADDINV",
    "CRF_MOD_EXP",
    "CRF_MOD_EXP_CRT",
    "CRF_MOD_MULT",
    "CRF_MOD_MULTINV",
    "CRF_MOD_SUB",
    "CRF_RANDOM",
    "CRK_ALGORITHM_MAX",
    "CRK_ALGORITHM_MIN",
    "CRK_DH_COMPUTE_KEY",
    "CRK_DSA_SIGN",
    "CRK_DSA_VERIFY",
    "CRK_MAXPARAM",
    "CRK_MOD",
    "CRK_MOD_ADD",
    "CRK_MOD_ADDINV",
    "CRK_MOD_EXP",
    "CRK_MOD_EXP_CRT",
    "CRK_MOD_MULT",
    "CRK_MOD_MULTINV",
    "CRK_MOD_SUB",
    "CRK_RANDOM",
    "CRYPTOCAP_F_ACCEL_SOFTWARE",
    "CRYPTOCAP_F_CLEANUP",
    "CRYPTOCAP_F_SOFTWARE",
    "CRYPTOCAP_F_SYNC",
    "CRYPTO_3DES_CBC",
    "CRYPTO_AES_128_GMAC",
    "CRYPTO_AES_192_GMAC",
    "CRYPTO_AES_256_GMAC",
    "CRYPTO_AES_CBC",
    "CRYPTO_AES_CCM_16",
    "CRYPTO_AES_CCM_MAC",
    "CRYPTO_AES_CMAC",
    "CRYPTO_AES_CTR",
    "CRYPTO_AES_ECB",
    "CRYPTO_AES_GCM_16",
    "CRYPTO_AES_GMAC",
    "CRYPTO_AES_ICM",
    "CRYPTO_AES_SIV",
    "CRYPTO_AES_SIV_MAC",
    "CRYPTO_AES_XCBC_MAC_96",
    "CRYPTO_AES_XTS",
    "CRYPTO_ALGORITHM_MAX",
    "CRYPTO_ALGORITHM_MIN",
    "CRYPTO_ALG_FLAG_DSA_SHA",
    "CRYPTO_ALG_FLAG_RNG_ENABLE",
    "CRYPTO_ALG_FLAG_SUPPORTED",
    "CRYPTO_ARC4",
    "CRYPTO_ASYMQ",
    "CRYPTO_BLAKE2B",
    "CRYPTO_BLAKE2S",
    "CRYPTO_BLF_CBC",
    "CRYPTO_BUF_CONTIG",
    "CRYPTO_BUF_IOV",
    "CRYPTO_BUF_MBUF",
    "CRYPTO_CAMELLIA_CBC",
    "CRYPTO_CAST_CBC",
    "CRYPTO_CHACHA20_POLY1305",
    "CRYPTO_CHACHA20_POLY1305_MAC",
    "CRYPTO_DEFLATE_COMP",
    "CRYPTO_DEFLATE_COMP_NOGROW",
    "CRYPTO_DES_CBC",
    "CRYPTO_DRIVERS_INITIAL",
    "CRYPTO_F_BATCH",
    "CRYPTO_F_CBIFSYNC",
    "CRYPTO_F_CBIMM",
    "CRYPTO_F_DONE",
    "CRYPTO_F_IMBUF",
    "CRYPTO_F_IOV",
    "CRYPTO_F_MORE",
    "CRYPTO_F_ONRETQ",
    "CRYPTO_F_REL",
    "CRYPTO_F_USER",
    "CRYPTO_GZIP_COMP",
    "CRYPTO_HINT_MORE",
    "CRYPTO_MAX_MAC_LEN",
    "CRYPTO_MD5",
    "CRYPTO_MD5_HMAC",
    "CRYPTO_MD5_HMAC_96",
    "CRYPTO_MD5_KPDK",
    "CRYPTO_NULL_CBC",
    "CRYPTO_NULL_HMAC",
    "CRYPTO_POLY1305",
    "CRYPTO_RIJNDAEL128_CBC",
    "CRYPTO_RIPEMD160_HMAC",
    "CRYPTO_RIPEMD160_HMAC_96",
    "CRYPTO_SHA1",
    "CRYPTO_SHA1_HMAC",
    "CRYPTO_SHA1_HMAC_96",
    "CRYPTO_SHA1_KPDK",
    "CRYPTO_SHA2_224",
    "CRYPTO_SHA2_224_HMAC",
    "CRYPTO_SHA2_256",
    "CRYPTO_SHA2_256_HMAC",
    "CRYPTO_SHA2_384",
    "CRYPTO_SHA2_384_HMAC",
    "CRYPTO_SHA2_512",
    "CRYPTO_SHA2_512_HMAC",
    "CRYPTO_SHA2_HMAC",
    "CRYPTO_SHA3_256",
    "CRYPTO_SHA3_512",
    "CRYPTO_SKIPJACK_CBC",
    "CRYPTO_SYMQ",
    "EALG_MAX_BLOCK_LEN",
    "EBADMSG",
    "EOK",
    "ERESTART",
    "Kop",
]


class Alg(IntEnum):
    """
    Symmetric algorithms, hashes and compression.

    Members 1 to 33 carry NetBSD's numbers; from 64 upwards they are ours, for what the other
    BSDs and Linux have. The one member whose C name begins with a digit is ``Alg["3DES_CBC"]``.
    """

    DES_CBC = 1
    vars()["3DES_CBC"] = 2
    BLF_CBC = 3
    CAST_CBC = 4
    SKIPJACK_CBC = 5
    MD5_HMAC = 6
    SHA1_HMAC = 7
    RIPEMD160_HMAC = 8
    MD5_KPDK = 9
    SHA1_KPDK = 10
    AES_CBC = 11
    ARC4 = 12
    MD5 = 13
    SHA1 = 14
    SHA2_256_HMAC = 15
    NULL_HMAC = 16
    NULL_CBC = 17
    DEFLATE_COMP = 18
    MD5_HMAC_96 = 19
    SHA1_HMAC_96 = 20
    RIPEMD160_HMAC_96 = 21
    GZIP_COMP = 22
    DEFLATE_COMP_NOGROW = 23
    SHA2_384_HMAC = 24
    SHA2_512_HMAC = 25
    CAMELLIA_CBC = 26
    AES_CTR = 27
    AES_XCBC_MAC_96 = 28
    AES_GCM_16 = 29
    AES_128_GMAC = 30
    AES_192_GMAC = 31
    AES_256_GMAC = 32
    AES_GMAC = 33
    # Ours.
    AES_XTS = 64
    AES_CCM_16 = 65
    CHACHA20_POLY1305 = 66
    AES_CMAC = 67
    SHA2_224 = 68
    SHA2_256 = 69
    SHA2_384 = 70
    SHA2_512 = 71
    SHA2_224_HMAC = 72
    SHA3_256 = 73
    SHA3_512 = 74
    BLAKE2B = 75
    BLAKE2S = 76
    POLY1305 = 77
    AES_CCM_MAC = 78
    CHACHA20_POLY1305_MAC = 79
    AES_ICM = 80
    AES_ECB = 81
    AES_SIV = 82
    AES_SIV_MAC = 83


class Kop(IntEnum):
    """Key operations. `MOD_EXP` to `MOD` carry NetBSD's numbers; `RANDOM` is ours."""

    MOD_EXP = 0
    MOD_EXP_CRT = 1
    DSA_SIGN = 2
    DSA_VERIFY = 3
    DH_COMPUTE_KEY = 4
    MOD_ADD = 5
    MOD_ADDINV = 6
    MOD_SUB = 7
    MOD_MULT = 8
    MOD_MULTINV = 9
    MOD = 10
    RANDOM = 32


CRYPTO_DES_CBC: Final = Alg.DES_CBC
CRYPTO_3DES_CBC: Final = Alg(2)
CRYPTO_BLF_CBC: Final = Alg.BLF_CBC
CRYPTO_CAST_CBC: Final = Alg.CAST_CBC
CRYPTO_SKIPJACK_CBC: Final = Alg.SKIPJACK_CBC
CRYPTO_MD5_HMAC: Final = Alg.MD5_HMAC
CRYPTO_SHA1_HMAC: Final = Alg.SHA1_HMAC
CRYPTO_RIPEMD160_HMAC: Final = Alg.RIPEMD160_HMAC
CRYPTO_MD5_KPDK: Final = Alg.MD5_KPDK
CRYPTO_SHA1_KPDK: Final = Alg.SHA1_KPDK
CRYPTO_AES_CBC: Final = Alg.AES_CBC
CRYPTO_RIJNDAEL128_CBC: Final = Alg.AES_CBC
CRYPTO_ARC4: Final = Alg.ARC4
CRYPTO_MD5: Final = Alg.MD5
CRYPTO_SHA1: Final = Alg.SHA1
CRYPTO_SHA2_256_HMAC: Final = Alg.SHA2_256_HMAC
CRYPTO_SHA2_HMAC: Final = Alg.SHA2_256_HMAC
CRYPTO_NULL_HMAC: Final = Alg.NULL_HMAC
CRYPTO_NULL_CBC: Final = Alg.NULL_CBC
CRYPTO_DEFLATE_COMP: Final = Alg.DEFLATE_COMP
CRYPTO_MD5_HMAC_96: Final = Alg.MD5_HMAC_96
CRYPTO_SHA1_HMAC_96: Final = Alg.SHA1_HMAC_96
CRYPTO_RIPEMD160_HMAC_96: Final = Alg.RIPEMD160_HMAC_96
CRYPTO_GZIP_COMP: Final = Alg.GZIP_COMP
CRYPTO_DEFLATE_COMP_NOGROW: Final = Alg.DEFLATE_COMP_NOGROW
CRYPTO_SHA2_384_HMAC: Final = Alg.SHA2_384_HMAC
CRYPTO_SHA2_512_HMAC: Final = Alg.SHA2_512_HMAC
CRYPTO_CAMELLIA_CBC: Final = Alg.CAMELLIA_CBC
CRYPTO_AES_CTR: Final = Alg.AES_CTR
CRYPTO_AES_XCBC_MAC_96: Final = Alg.AES_XCBC_MAC_96
CRYPTO_AES_GCM_16: Final = Alg.AES_GCM_16
CRYPTO_AES_128_GMAC: Final = Alg.AES_128_GMAC
CRYPTO_AES_192_GMAC: Final = Alg.AES_192_GMAC
CRYPTO_AES_256_GMAC: Final = Alg.AES_256_GMAC
CRYPTO_AES_GMAC: Final = Alg.AES_GMAC
CRYPTO_AES_XTS: Final = Alg.AES_XTS
CRYPTO_AES_CCM_16: Final = Alg.AES_CCM_16
CRYPTO_CHACHA20_POLY1305: Final = Alg.CHACHA20_POLY1305
CRYPTO_AES_CMAC: Final = Alg.AES_CMAC
CRYPTO_SHA2_224: Final = Alg.SHA2_224
CRYPTO_SHA2_256: Final = Alg.SHA2_256
CRYPTO_SHA2_384: Final = Alg.SHA2_384
CRYPTO_SHA2_512: Final = Alg.SHA2_512
CRYPTO_SHA2_224_HMAC: Final = Alg.SHA2_224_HMAC
CRYPTO_SHA3_256: Final = Alg.SHA3_256
CRYPTO_SHA3_512: Final = Alg.SHA3_512
CRYPTO_BLAKE2B: Final = Alg.BLAKE2B
CRYPTO_BLAKE2S: Final = Alg.BLAKE2S
CRYPTO_POLY1305: Final = Alg.POLY1305
CRYPTO_AES_CCM_MAC: Final = Alg.AES_CCM_MAC
CRYPTO_CHACHA20_POLY1305_MAC: Final = Alg.CHACHA20_POLY1305_MAC
CRYPTO_AES_ICM: Final = Alg.AES_ICM
CRYPTO_AES_ECB: Final = Alg.AES_ECB
CRYPTO_AES_SIV: Final = Alg.AES_SIV
CRYPTO_AES_SIV_MAC: Final = Alg.AES_SIV_MAC

CRYPTO_ALGORITHM_MIN: Final = 1
CRYPTO_ALGORITHM_MAX: Final = 33
"""The last number of NetBSD's; ours follow from 64."""

CRK_MOD_EXP: Final = Kop.MOD_EXP
CRK_MOD_EXP_CRT: Final = Kop.MOD_EXP_CRT
CRK_DSA_SIGN: Final = Kop.DSA_SIGN
CRK_DSA_VERIFY: Final = Kop.DSA_VERIFY
CRK_DH_COMPUTE_KEY: Final = Kop.DH_COMPUTE_KEY
CRK_MOD_ADD: Final = Kop.MOD_ADD
CRK_MOD_ADDINV: Final = Kop.MOD_ADDINV
CRK_MOD_SUB: Final = Kop.MOD_SUB
CRK_MOD_MULT: Final = Kop.MOD_MULT
CRK_MOD_MULTINV: Final = Kop.MOD_MULTINV
CRK_MOD: Final = Kop.MOD
CRK_RANDOM: Final = Kop.RANDOM
CRK_ALGORITHM_MIN: Final = 0
CRK_ALGORITHM_MAX: Final = 10
CRK_MAXPARAM: Final = 8

CRF_MOD_EXP: Final = 1 << 0
CRF_MOD_EXP_CRT: Final = 1 << 1
CRF_DSA_SIGN: Final = 1 << 2
CRF_DSA_VERIFY: Final = 1 << 3
CRF_DH_COMPUTE_KEY: Final = 1 << 4
CRF_MOD_ADD: Final = 1 << 5
CRF_MOD_ADDINV: Final = 1 << 6
CRF_MOD_SUB: Final = 1 << 7
CRF_MOD_MULT: Final = 1 << 8
CRF_MOD_MULTINV: Final = 1 << 9
CRF_MOD: Final = 1 << 10
CRF_RANDOM: Final = 1 << 32

# An algorithm as registered (crypto_register's flags).
CRYPTO_ALG_FLAG_SUPPORTED: Final = 0x01
CRYPTO_ALG_FLAG_RNG_ENABLE: Final = 0x02
CRYPTO_ALG_FLAG_DSA_SHA: Final = 0x04

# A descriptor (crd_flags).
CRD_F_ENCRYPT: Final = 0x01
CRD_F_IV_PRESENT: Final = 0x02
CRD_F_IV_EXPLICIT: Final = 0x04
CRD_F_DSA_SHA_NEEDED: Final = 0x08
CRD_F_COMP: Final = 0x10
CRD_F_VERIFY: Final = 0x100
"""Ours: the MAC at ``inject`` is compared, not computed; a mismatch is EBADMSG."""
CRD_F_MORE: Final = 0x200
"""Ours: more of this message follows in later requests. On all descriptors, or on none."""

CRD_LEN_REST: Final = -1
"""
Ours, as a descriptor's ``len``: to the end of what the step before left. ``~n``: all but its last n
bytes, so that this is ``~0``. Behind a step that changes lengths, and nowhere else.
"""

# A request (crp_flags).
CRYPTO_F_IMBUF: Final = 0x001
CRYPTO_F_IOV: Final = 0x002
CRYPTO_F_REL: Final = 0x004
CRYPTO_F_BATCH: Final = 0x008
CRYPTO_F_CBIMM: Final = 0x010
CRYPTO_F_DONE: Final = 0x020
CRYPTO_F_CBIFSYNC: Final = 0x040
CRYPTO_F_ONRETQ: Final = 0x080
CRYPTO_F_USER: Final = 0x100
CRYPTO_F_MORE: Final = 0x200

# A driver (crypto_get_driverid's flags).
CRYPTOCAP_F_CLEANUP: Final = 0x1
CRYPTOCAP_F_SOFTWARE: Final = 0x2
CRYPTOCAP_F_SYNC: Final = 0x4
CRYPTOCAP_F_ACCEL_SOFTWARE: Final = 0x8
"""Ours, as in FreeBSD: set beside SOFTWARE by a driver over accelerated library code."""

CRYPTO_BUF_CONTIG: Final = 0
CRYPTO_BUF_IOV: Final = 1
CRYPTO_BUF_MBUF: Final = 2

CRYPTO_HINT_MORE: Final = 1
CRYPTO_SYMQ: Final = 0x1
CRYPTO_ASYMQ: Final = 0x2

CRYPTO_DRIVERS_INITIAL: Final = 4
EALG_MAX_BLOCK_LEN: Final = 16
AALG_MAX_RESULT_LEN: Final = 64
CRYPTO_MAX_MAC_LEN: Final = 64

ERESTART: Final[int] = getattr(errno, "ERESTART", 85)
"""What ``process`` returns when a driver cannot take the request now; it is never a result."""
EBADMSG: Final[int] = errno.EBADMSG
EOK: Final = 0
