"""Hashes of words that are the same everywhere: FarmHash Fingerprint64 and SipHash-2-4.

They are those of TensorFlow's ``to_hash_bucket_fast`` and ``to_hash_bucket_strong``, on which
Keras's layers rest, so that a word falls into the same bin as there.  Plain integer arithmetic
modulo 2**64, one word at a time: layers hash each distinct value once.

Sources: G. Pike, FarmHash (2014), variant "na"; Aumasson and Bernstein, "SipHash: a fast
short-input PRF" (2012).
"""

from __future__ import annotations

__all__ = ["crossed", "farmhash64", "siphash64"]

_MASK = 2**64 - 1
_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F


def _rotate(value, by):
    return value if by == 0 else (value >> by | value << (64 - by)) & _MASK


def _word(data, at, size=8):
    return int.from_bytes(data[at : at + size], "little")


def _mixed(value):
    return value ^ value >> 47


def _joined(u, v, multiplier):
    a = (u ^ v) * multiplier & _MASK
    a ^= a >> 47
    b = (v ^ a) * multiplier & _MASK
    b ^= b >> 47
    return b * multiplier & _MASK


def farmhash64(data: bytes) -> int:
    """FarmHash's Fingerprint64 of some bytes.

    >>> farmhash64(b"") == 0x9AE16A3B2F90404F
    True
    """
    n = len(data)
    if n <= 16:
        return _short(data, n)
    multiplier = (_K2 + 2 * n) & _MASK
    if n <= 32:
        a, b = _word(data, 0) * _K1 & _MASK, _word(data, 8)
        c, d = _word(data, n - 8) * multiplier & _MASK, _word(data, n - 16) * _K2 & _MASK
        return _joined((_rotate((a + b) & _MASK, 43) + _rotate(c, 30) + d) & _MASK,
                       (a + _rotate((b + _K2) & _MASK, 18) + c) & _MASK, multiplier)
    if n <= 64:
        return _medium(data, n, multiplier)
    return _long(data, n)


def _short(data, n):
    if n >= 8:
        multiplier = (_K2 + 2 * n) & _MASK
        a, b = (_word(data, 0) + _K2) & _MASK, _word(data, n - 8)
        c = (_rotate(b, 37) * multiplier + a) & _MASK
        d = (_rotate(a, 25) + b) * multiplier & _MASK
        return _joined(c, d, multiplier)
    if n >= 4:
        multiplier = (_K2 + 2 * n) & _MASK
        return _joined(n + (_word(data, 0, 4) << 3), _word(data, n - 4, 4), multiplier)
    if n:
        y = data[0] + (data[n >> 1] << 8)
        z = n + (data[n - 1] << 2)
        return _mixed(y * _K2 & _MASK ^ z * _K0 & _MASK) * _K2 & _MASK
    return _K2


def _medium(data, n, multiplier):
    a, b = _word(data, 0) * _K2 & _MASK, _word(data, 8)
    c, d = _word(data, n - 8) * multiplier & _MASK, _word(data, n - 16) * _K2 & _MASK
    y = (_rotate((a + b) & _MASK, 43) + _rotate(c, 30) + d) & _MASK
    z = _joined(y, (a + _rotate((b + _K2) & _MASK, 18) + c) & _MASK, multiplier)
    e, f = _word(data, 16) * multiplier & _MASK, _word(data, 24)
    g = (y + _word(data, n - 32)) * multiplier & _MASK
    h = (z + _word(data, n - 24)) * multiplier & _MASK
    return _joined((_rotate((e + f) & _MASK, 43) + _rotate(g, 30) + h) & _MASK,
                   (e + _rotate((f + a) & _MASK, 18) + g) & _MASK, multiplier)


def _weak(data, at, a, b):
    """A pair of 64-bit words of 32 bytes and two seeds."""
    w, x, y, z = (_word(data, at + i) for i in (0, 8, 16, 24))
    a = (a + w) & _MASK
    b = _rotate((b + a + z) & _MASK, 21)
    c = a
    a = (a + x + y) & _MASK
    b = (b + _rotate(a, 44)) & _MASK
    return (a + z) & _MASK, (b + c) & _MASK


def _long(data, n):
    seed = 81
    y = (seed * _K1 + 113) & _MASK
    z = _mixed((y * _K2 + 113) & _MASK) * _K2 & _MASK
    v, w = (0, 0), (0, 0)
    x = (seed * _K2 + _word(data, 0)) & _MASK
    end = (n - 1) // 64 * 64
    for at in range(0, end, 64):
        x = _rotate((x + y + v[0] + _word(data, at + 8)) & _MASK, 37) * _K1 & _MASK
        y = _rotate((y + v[1] + _word(data, at + 48)) & _MASK, 42) * _K1 & _MASK
        x ^= w[1]
        y = (y + v[0] + _word(data, at + 40)) & _MASK
        z = _rotate((z + w[0]) & _MASK, 33) * _K1 & _MASK
        v = _weak(data, at, v[1] * _K1 & _MASK, (x + w[0]) & _MASK)
        w = _weak(data, at + 32, (z + w[1]) & _MASK, (y + _word(data, at + 16)) & _MASK)
        z, x = x, z
    multiplier = (_K1 + ((z & 0xFF) << 1)) & _MASK
    at = n - 64
    w = ((w[0] + (n - 1 & 63)) & _MASK, w[1])
    v = ((v[0] + w[0]) & _MASK, v[1])
    w = ((w[0] + v[0]) & _MASK, w[1])
    x = _rotate((x + y + v[0] + _word(data, at + 8)) & _MASK, 37) * multiplier & _MASK
    y = _rotate((y + v[1] + _word(data, at + 48)) & _MASK, 42) * multiplier & _MASK
    x ^= w[1] * 9 & _MASK
    y = (y + v[0] * 9 + _word(data, at + 40)) & _MASK
    z = _rotate((z + w[0]) & _MASK, 33) * multiplier & _MASK
    v = _weak(data, at, v[1] * multiplier & _MASK, (x + w[0]) & _MASK)
    w = _weak(data, at + 32, (z + w[1]) & _MASK, (y + _word(data, at + 16)) & _MASK)
    z, x = x, z
    return _joined((_joined(v[0], w[0], multiplier) + _mixed(y) * _K0 + z) & _MASK,
                   (_joined(v[1], w[1], multiplier) + x) & _MASK, multiplier)


def crossed(fingerprints) -> int:
    """One fingerprint of several, as TensorFlow's crosses of features make it.

    >>> crossed([farmhash64(b"A"), 101]) % 5  # as in the example of Keras's HashedCrossing
    1
    """
    multiplier, result = 0xC6A4A7935BD1E995, 0xDECAFCAFFE
    for fingerprint in fingerprints:
        result ^= multiplier ^ _mixed(fingerprint * multiplier & _MASK) * multiplier & _MASK
        result = result * multiplier & _MASK
        result = _mixed(_mixed(result) * multiplier & _MASK)
    return result


def siphash64(data: bytes, key: tuple[int, int]) -> int:
    """SipHash-2-4 of some bytes with a key of two 64-bit words.

    >>> key = (0x0706050403020100, 0x0F0E0D0C0B0A0908)
    >>> hex(siphash64(bytes(range(15)), key))  # the example of the paper's appendix A
    '0xa129ca6149be45e5'
    """
    k0, k1 = (k & _MASK for k in key)
    state = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D,
             k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]
    tail = len(data) % 8
    blocks = [_word(data, at) for at in range(0, len(data) - tail, 8)]
    blocks.append(_word(data, len(data) - tail, tail) | (len(data) & 0xFF) << 56)
    for block in blocks:
        state[3] ^= block
        _round(state)
        _round(state)
        state[0] ^= block
    state[2] ^= 0xFF
    for _ in range(4):
        _round(state)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def _round(v):
    # rotations to the left by 13, 16, 32, 17, 21 and 32
    v[0] = (v[0] + v[1]) & _MASK
    v[2] = (v[2] + v[3]) & _MASK
    v[1] = _rotate(v[1], 51) ^ v[0]
    v[3] = _rotate(v[3], 48) ^ v[2]
    v[0] = _rotate(v[0], 32)
    v[2] = (v[2] + v[1]) & _MASK
    v[0] = (v[0] + v[3]) & _MASK
    v[1] = _rotate(v[1], 47) ^ v[2]
    v[3] = _rotate(v[3], 43) ^ v[0]
    v[2] = _rotate(v[2], 32)
