"""Blake2b-256 of eight messages at a time, one in each 64-bit lane of a vector.

Source: RFC 7693, sections 2.7 (message schedule), 3.1 (mixing) and 3.2 (compression). Message `lane` starts
at `data[start + lane·stride]`; the byte hashed before it is `prefix` (the tree's leaf or inner mark), so
words are loaded from one byte before the message on. Up to 127 bytes past a message are read and masked away:
callers keep as many bytes of slack around their arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from storage.redstuff.kernels import cpu
from storage.redstuff.kernels.vector import BYTE, WORD64, constant, data_pointer, load, splat, store

LANES = 8
WORD_BYTES = 64
"""A 64-bit word of all lanes."""
BLOCK_BYTES = 128
ROUNDS = 12
SHORT_BYTES = 71
"""Longest message for `hash_short`: with its prefix it fills nine words."""
VECTOR = ir.VectorType(WORD64, LANES)
INITIAL = (
    *(0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1),
    *(0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179),
)
PARAMETERS = 0x01010020
"""Digest of 32 bytes, no key, fanout and depth 1."""
SCHEDULE = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)
MIXED = (
    *((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)),
    *((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)),
)


def _width() -> int:
    """Return the lanes that one register of this processor holds; a state then fills all registers."""
    features = cpu.features()
    return 8 if "avx512f" in features else 4 if "avx2" in features else 2


def _rotate_right(builder: ir.IRBuilder, value: ir.Value, bits: int) -> ir.Value:
    right = builder.lshr(value, constant(value.type, bits))
    return builder.or_(right, builder.shl(value, constant(value.type, 64 - bits)))


def _schedule(builder: ir.IRBuilder) -> ir.Value:
    """Return the places in bytes of each round's message words, in a group's words."""
    places = [[WORD_BYTES * word for word in SCHEDULE[number % 10]] for number in range(ROUNDS)]
    kind = ir.ArrayType(ir.ArrayType(WORD64, 16), ROUNDS)
    return _global(builder, "blake2b.schedule", ir.Constant(kind, places))


def _compress(builder: ir.IRBuilder, groups: list[_Group], counter: ir.Value, last: ir.Value) -> None:
    """RFC 7693, 3.2, on the states and messages of one group or two; `counter` and `last` are scalars.

    A compression is one long chain of dependent steps that keeps a core less than half busy. So several run
    side by side: the rounds are a loop, and each turn does a round of one after the other.
    """
    width = _width()
    parts = [(group, WORD64(8 * lane)) for group in groups for lane in range(0, LANES, width)]
    vector, schedule = ir.VectorType(WORD64, width), _schedule(builder)
    turns = [splat(builder, word, width) for word in (counter, last)]

    def state(group: _Group, part: ir.Value) -> list[ir.Value]:
        return [load(builder, vector, group.state, builder.add(part, WORD64(64 * i))) for i in range(8)]

    working = []
    for part in parts:
        v = [*state(*part), *(constant(vector, number) for number in INITIAL)]
        v[12], v[14] = builder.xor(v[12], turns[0]), builder.xor(v[14], turns[1])
        working.append([cgutils.alloca_once_value(builder, word) for word in v])  # type: ignore[no-untyped-call]
    with cgutils.for_range(builder, WORD64(ROUNDS)) as loop:
        row = [builder.gep(schedule, [WORD64(0), loop.index, WORD64(i)]) for i in range(16)]
        places = [builder.load(place) for place in row]
        for (group, part), slots in zip(parts, working, strict=True):
            words = [load(builder, vector, group.message, builder.add(part, place)) for place in places]
            v = _round(builder, [builder.load(slot) for slot in slots], words)
            for slot, word in zip(slots, v, strict=True):
                builder.store(word, slot)
    for (group, part), slots in zip(parts, working, strict=True):
        v = [builder.load(slot) for slot in slots]
        for i, word in enumerate(state(group, part)):
            after = builder.xor(word, builder.xor(v[i], v[i + 8]))
            store(builder, after, group.state, builder.add(part, WORD64(64 * i)))


def _round(builder: ir.IRBuilder, v: list[ir.Value], words: list[ir.Value]) -> list[ir.Value]:
    """RFC 7693, 3.1, for each column and each diagonal."""
    for step, (a, b, c, d) in enumerate(MIXED):
        # Adding the message to `a` first keeps the addition off the chain that waits for `b`.
        v[a] = builder.add(builder.add(v[a], words[2 * step]), v[b])
        v[d] = _rotate_right(builder, builder.xor(v[d], v[a]), 32)
        v[c] = builder.add(v[c], v[d])
        v[b] = _rotate_right(builder, builder.xor(v[b], v[c]), 24)
        v[a] = builder.add(builder.add(v[a], words[2 * step + 1]), v[b])
        v[d] = _rotate_right(builder, builder.xor(v[d], v[a]), 16)
        v[c] = builder.add(v[c], v[d])
        v[b] = _rotate_right(builder, builder.xor(v[b], v[c]), 63)
    return v


def _transpose(builder: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """8×8 words: eight messages' words to eight words' messages, in three rounds of pairwise exchange."""
    index = ir.VectorType(ir.IntType(32), LANES)
    for distance in (4, 2, 1):
        low = [lane if not lane & distance else lane - distance + LANES for lane in range(LANES)]
        high = [lane + distance if not lane & distance else lane + LANES for lane in range(LANES)]
        result = list(rows)
        for i in range(LANES):
            if not i & distance:
                pair = rows[i], rows[i + distance]
                result[i] = builder.shuffle_vector(*pair, ir.Constant(index, low))
                result[i + distance] = builder.shuffle_vector(*pair, ir.Constant(index, high))
        rows = result
    return rows


def _global(builder: ir.IRBuilder, name: str, content: ir.Constant) -> ir.Value:
    found = builder.module.globals.get(name)
    if found is None:
        found = ir.GlobalVariable(builder.module, content.type, name)
        found.initializer = content
        found.global_constant = True
        found.linkage = "internal"
    return found


def _masks(builder: ir.IRBuilder) -> ir.Value:
    """Return 128 bytes of ones, then 128 of zeros: loaded from `128 - k` on, the mask that keeps `k` bytes."""
    kind = ir.ArrayType(BYTE, 2 * BLOCK_BYTES)
    masks = ir.Constant(kind, bytearray(b"\xff" * BLOCK_BYTES + bytes(BLOCK_BYTES)))
    return builder.bitcast(_global(builder, "blake2b.masks", masks), BYTE.as_pointer())


class _Group:
    """Eight messages: where they start and go to, and memory for the words of their blocks and states.

    The lanes past `count` repeat the last one. A word of all eight takes 64 bytes.
    """

    def __init__(
        self, builder: ir.IRBuilder, start: ir.Value, stride: ir.Value, count: ir.Value,
        to: ir.Value, to_stride: ir.Value,
    ) -> None:  # fmt: skip
        final = builder.sub(count, WORD64(1))
        self.offsets, self.targets = [], []
        for lane in range(LANES):
            inside = builder.icmp_signed("<", WORD64(lane), final)
            number = builder.select(inside, WORD64(lane), final)
            self.offsets.append(builder.add(start, builder.mul(number, stride)))
            self.targets.append(builder.add(to, builder.mul(number, to_stride)))
        self.message, self.state = (self._words(builder, size) for size in (16, 8))
        for i, number in enumerate(INITIAL):
            self.set(builder, self.state, i, constant(VECTOR, number ^ (PARAMETERS if i == 0 else 0)))

    @staticmethod
    def _words(builder: ir.IRBuilder, count: int) -> ir.Value:
        with builder.goto_entry_block():
            memory = builder.alloca(VECTOR, count)
            memory.align = WORD_BYTES
            return builder.bitcast(memory, BYTE.as_pointer())

    @staticmethod
    def set(builder: ir.IRBuilder, words: ir.Value, number: int, value: ir.Value) -> None:
        """Store one word of all eight lanes."""
        store(builder, value, words, WORD64(WORD_BYTES * number))

    def write(self, builder: ir.IRBuilder, out: ir.Value) -> None:
        """The first four words of each lane's state."""
        words = [load(builder, VECTOR, self.state, WORD64(WORD_BYTES * i)) for i in range(4)]
        rows = _transpose(builder, [*words, *(constant(VECTOR, 0) for _ in range(4))])
        index = ir.VectorType(ir.IntType(32), 4)
        for row, target in zip(rows, self.targets, strict=True):
            half = builder.shuffle_vector(row, row, ir.Constant(index, [0, 1, 2, 3]))
            store(builder, half, out, target)


def _set_prefix(builder: ir.IRBuilder, word: ir.Value, keep: ir.Value, prefix: ir.Value) -> ir.Value:
    return builder.or_(builder.and_(word, splat(builder, keep, LANES)), splat(builder, prefix, LANES))


def _hash_short(
    builder: ir.IRBuilder, base: ir.Value, groups: list[_Group], length: ir.Value, prefix: ir.Value
) -> None:
    total = builder.add(length, WORD64(1))
    masks, shift = _masks(builder), builder.sub(WORD64(BLOCK_BYTES), total)
    mask = load(builder, VECTOR, masks, shift)
    ninth_mask = load(builder, WORD64, masks, builder.add(shift, WORD64(64)))
    for group in groups:
        rows = [builder.and_(load(builder, VECTOR, base, offset), mask) for offset in group.offsets]
        message = _transpose(builder, rows)
        message[0] = _set_prefix(builder, message[0], WORD64(~0xFF), prefix)
        ninth = constant(VECTOR, 0)
        for lane, offset in enumerate(group.offsets):
            word = load(builder, WORD64, base, builder.add(offset, WORD64(64)))
            ninth = builder.insert_element(ninth, word, ir.IntType(32)(lane))
        message.append(builder.and_(ninth, splat(builder, ninth_mask, LANES)))
        message += [constant(VECTOR, 0)] * 7
        for number, words in enumerate(message):
            group.set(builder, group.message, number, words)
    _compress(builder, groups, total, WORD64(-1))


def _hash_long(
    builder: ir.IRBuilder, base: ir.Value, groups: list[_Group], length: ir.Value, prefix: ir.Value
) -> None:
    total = builder.add(length, WORD64(1))
    blocks = builder.udiv(builder.add(length, WORD64(BLOCK_BYTES)), WORD64(BLOCK_BYTES))
    masks = _masks(builder)
    with cgutils.for_range(builder, blocks) as loop:
        place = builder.mul(loop.index, WORD64(BLOCK_BYTES))
        left = builder.sub(total, place)
        is_last = builder.icmp_signed("<=", left, WORD64(BLOCK_BYTES))
        kept = builder.select(is_last, left, WORD64(BLOCK_BYTES))
        is_first = builder.icmp_signed("==", loop.index, WORD64(0))
        keep = builder.select(is_first, WORD64(~0xFF), WORD64(-1))
        mark = builder.select(is_first, prefix, WORD64(0))
        for group in groups:
            message = []
            for half in range(2):
                shift = builder.add(builder.sub(WORD64(BLOCK_BYTES), kept), WORD64(64 * half))
                mask = load(builder, VECTOR, masks, shift)
                here = builder.add(place, WORD64(64 * half))
                rows = [load(builder, VECTOR, base, builder.add(offset, here)) for offset in group.offsets]
                message += _transpose(builder, [builder.and_(row, mask) for row in rows])
            message[0] = _set_prefix(builder, message[0], keep, mark)
            for number, words in enumerate(message):
                group.set(builder, group.message, number, words)
        final = builder.select(is_last, WORD64(-1), WORD64(0))
        _compress(builder, groups, builder.add(place, kept), final)


def _intrinsic(write: Callable[..., None]) -> Any:
    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        data, start, stride, count, second, second_count, length, prefix, out, to, to_stride, second_to = args
        base = builder.gep(data_pointer(context, builder, signature.args[0], data), [WORD64(-1)])
        target = data_pointer(context, builder, signature.args[8], out)

        def hash_groups(*groups: tuple[ir.Value, ir.Value, ir.Value]) -> None:
            lanes = [_Group(builder, at, stride, some, goes_to, to_stride) for at, some, goes_to in groups]
            write(builder, base, lanes, length, prefix)
            for group in lanes:
                group.write(builder, target)

        with builder.if_else(builder.icmp_signed(">", second_count, WORD64(0))) as (both, alone):
            with both:
                hash_groups((start, count, to), (second, second_count, second_to))
            with alone:
                hash_groups((start, count, to))
        return context.get_dummy_value()

    @intrinsic
    def hash_lanes(
        typing_context: Any, data: Any, start: Any, stride: Any, count: Any, second: Any, second_count: Any,
        length: Any, prefix: Any, out: Any, to: Any, to_stride: Any, second_to: Any,
    ) -> Any:  # fmt: skip
        size = types.intp
        return types.void(data, *[size] * 7, out, *[size] * 3), generate

    return hash_lanes


hash_short = _intrinsic(_hash_short)
"""(data, start, stride, count, second, second_count, length ≤ 71, prefix, out, to, to_stride, second_to).

Digests of 32 bytes of `count` messages from `start` on, to `out` from `to` on, and of `second_count` more (or
none) from `second` on, to `second_to` on; at most eight each.
"""
hash_long = _intrinsic(_hash_long)
"""Takes the same arguments as `hash_short`, and hashes messages of any length."""
