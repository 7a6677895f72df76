# SPDX-License-Identifier: BSD-3-Clause
"""Golden vectors of everything random, and the generator once more, in Python's own integers. No array code is used.

The vectors pin the masks forever: a change here is a change of every training run.
"""

from dataclasses import dataclass, field

_32 = 0xFFFFFFFF

# The known answers of the paper's authors for Philox4x32-10: counter, key, words.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((_32,) * 4, (_32,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def philox(counter, key):
    """The four words, by the definition of the paper."""
    (a, b, c, d), (low, high) = counter, key
    for _ in range(10):
        first, second = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = second >> 32 ^ b ^ low, second & _32, first >> 32 ^ d ^ high, first & _32
        low, high = low + 0x9E3779B9 & _32, high + 0xBB67AE85 & _32
    return a, b, c, d


def draw(bits, index, domain=0, *, seed, step=0, site=0, offset=0):
    """The integer of 16, 32 or 64 bits that the element of this index takes."""
    index += offset
    block, place = divmod(index, 128 // bits)
    words = philox((block & _32, block >> 32, step, domain << 24 | site), (seed & _32, seed >> 32))
    if bits == 16:
        return words[place // 2] >> 16 * (place % 2) & 0xFFFF
    return words[place] if bits == 32 else words[2 * place] | words[2 * place + 1] << 32


@dataclass(frozen=True)
class Vector:
    """What is drawn at one place; masks of 64 elements, eight a byte, the first in the lowest bit; floats as bytes."""

    place: dict
    masks: dict = field(repr=False)  # keep → dropout's mask
    bernoulli: str  # probability 1/2
    uniform: str  # four of float32
    uniform_double: str  # two of float64
    normal: list  # four of float32
    normal_double: list  # three of float64
    permutation: list  # of 10, without the offset


VECTORS = [
    Vector(
        {"seed": 0},
        {0.5: "6d6d5a5f056effa4", 0.9: "fffddf7f7fffffbd", 1 / 3: "494c585b0146f580"},
        "029cfedc109ac18d",
        "d04fcc3ec569613fac573c3fdb001b3f",
        "fdc4acb1382dec3ff58a177b1b60e33f",
        [0.9911375045776367, -0.9246627688407898, -0.6176091432571411, -0.48206841945648193],
        [-0.39766753844418223, -0.310395478801738, 1.3868444271028377],
        [3, 5, 4, 2, 6, 7, 1, 8, 0, 9],
    ),
    Vector(
        {"seed": 1, "step": 2, "site": 3},
        {0.5: "9a848138dc5dd231", 0.9: "ffffdf7ffcdffebf", 1 / 3: "98840120d45dc031"},
        "b2f49849b6c20548",
        "709f3f3de910453fd2f8fc3e4c13dd3e",
        "3e7fe1201da2e83f1a9f5fa769a2db3f",
        [0.30691954493522644, -2.4556612968444824, -1.0800693035125732, 0.4934999346733093],
        [-0.6579513104197992, 0.30062767767021403, 0.8322061274063982],
        [3, 5, 6, 4, 9, 1, 2, 7, 0, 8],
    ),
    Vector(
        {"seed": 1, "step": 2, "site": 3, "offset": 5},
        {0.5: "240cc4e1ee928e71", 0.9: "fffffee3fff6fffd", 1 / 3: "240c00a1ee028e71"},
        "a5c74cb2152e408a",
        "28d90a3fa0ed523ea06bea3df238263f",
        "147d74c35965c13f20e4d2d96a56cd3f",
        [-0.1365467756986618, 1.3373652696609497, 1.1710516214370728, -0.047724854201078415],
        [1.2406052480352103, -1.3874582291627922, -1.0105851957710499],
        [3, 5, 6, 4, 9, 1, 2, 7, 0, 8],
    ),
    Vector(
        {"seed": 0xFEDCBA9876543210, "step": 0xFFFFFFFF, "site": 0xABCDEF, "offset": 2**35 - 3},
        {0.5: "bd0011f27afb3af7", 0.9: "fffcd7f6fffbfef7", 1 / 3: "900010b268aa1ab7"},
        "caf0b99d562b43b8",
        "e4851c3f29237f3fb46d133f32407d3f",
        "2c6c157f3102da3f3e18a8572a16d53f",
        [-0.47863903641700745, -0.072998046875, -0.03771158307790756, -0.05996307358145714],
        [0.1689709793873086, -1.4690912887709429, 0.24952549519020842],
        [0, 5, 3, 6, 4, 9, 1, 8, 7, 2],
    ),
]
