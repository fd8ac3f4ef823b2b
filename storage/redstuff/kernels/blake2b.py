"""Blake2b-256 of eight messages at a time, one in each 64-bit lane of a vector.

Source: RFC 7693, sections 2.7 (message schedule), 3.1 (mixing) and 3.2 (compression). Message `lane` starts
at `data[start + lane·stride]`; the byte hashed before it is `prefix` (the tree's leaf or inner mark), so
words are loaded from one byte before the message on. Up to 127 bytes past a message are read and masked away:
callers keep as many bytes of slack around their arrays.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from storage.redstuff.kernels.vector import BYTE, WORD64, constant, data_pointer, load, splat, store

LANES = 8
BLOCK_BYTES = 128
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


def _rotate_right(builder: ir.IRBuilder, value: ir.Value, bits: int) -> ir.Value:
    right = builder.lshr(value, constant(VECTOR, bits))
    return builder.or_(right, builder.shl(value, constant(VECTOR, 64 - bits)))


def _compress(
    builder: ir.IRBuilder,
    state: list[ir.Value],
    message: list[ir.Value | None],
    counter: ir.Value,
    last: ir.Value,
) -> list[ir.Value]:
    """RFC 7693, 3.2. Words of `message` that are None are zero and cost nothing; `counter`, `last` are scalars."""
    v = [*state, *(constant(VECTOR, number) for number in INITIAL)]
    v[12] = builder.xor(v[12], splat(builder, counter, LANES))
    v[14] = builder.xor(v[14], splat(builder, last, LANES))

    def plus(x: ir.Value, word: ir.Value | None) -> ir.Value:
        return x if word is None else builder.add(x, word)

    for number in range(12):
        order = SCHEDULE[number % 10]
        for step, (a, b, c, d) in enumerate(MIXED):
            # Adding the message to `a` first keeps the addition off the chain that waits for `b`.
            v[a] = builder.add(plus(v[a], message[order[2 * step]]), v[b])
            v[d] = _rotate_right(builder, builder.xor(v[d], v[a]), 32)
            v[c] = builder.add(v[c], v[d])
            v[b] = _rotate_right(builder, builder.xor(v[b], v[c]), 24)
            v[a] = builder.add(plus(v[a], message[order[2 * step + 1]]), v[b])
            v[d] = _rotate_right(builder, builder.xor(v[d], v[a]), 16)
            v[c] = builder.add(v[c], v[d])
            v[b] = _rotate_right(builder, builder.xor(v[b], v[c]), 63)
    return [builder.xor(state[i], builder.xor(v[i], v[i + 8])) for i in range(8)]


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


def _masks(builder: ir.IRBuilder) -> ir.Value:
    """128 bytes of ones, then 128 of zeros: loaded from `128 - k` on, the mask that keeps `k` bytes."""
    kind = ir.ArrayType(BYTE, 2 * BLOCK_BYTES)
    name = "blake2b.masks"
    found = builder.module.globals.get(name)
    if found is None:
        found = ir.GlobalVariable(builder.module, kind, name)
        found.initializer = ir.Constant(kind, bytearray(b"\xff" * BLOCK_BYTES + bytes(BLOCK_BYTES)))
        found.global_constant = True
        found.linkage = "internal"
    return builder.bitcast(found, BYTE.as_pointer())


class _Lanes:
    """The eight messages: where they start; the lanes past `count` repeat the last one."""

    def __init__(self, builder: ir.IRBuilder, start: ir.Value, stride: ir.Value, count: ir.Value) -> None:
        self.offsets = []
        final = builder.sub(count, WORD64(1))
        for lane in range(LANES):
            inside = builder.icmp_signed("<", WORD64(lane), final)
            number = builder.select(inside, WORD64(lane), final)
            self.offsets.append(builder.add(start, builder.mul(number, stride)))


def _first_words(builder: ir.IRBuilder) -> list[ir.Value]:
    return [constant(VECTOR, INITIAL[i] ^ (PARAMETERS if i == 0 else 0)) for i in range(8)]


def _set_prefix(builder: ir.IRBuilder, word: ir.Value, keep: ir.Value, prefix: ir.Value) -> ir.Value:
    return builder.or_(builder.and_(word, splat(builder, keep, LANES)), splat(builder, prefix, LANES))


def _write(builder: ir.IRBuilder, state: list[ir.Value], out: ir.Value, lanes: _Lanes) -> None:
    """The first four words of each lane's state."""
    rows = _transpose(builder, [*state[:4], *(constant(VECTOR, 0) for _ in range(4))])
    index = ir.VectorType(ir.IntType(32), 4)
    for row, offset in zip(rows, lanes.offsets, strict=True):
        half = builder.shuffle_vector(row, row, ir.Constant(index, [0, 1, 2, 3]))
        store(builder, half, out, offset)


def _generate_short(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    data, start, stride, count, length, prefix, out, out_start, out_stride = args
    base = builder.gep(data_pointer(context, builder, signature.args[0], data), [WORD64(-1)])
    target = data_pointer(context, builder, signature.args[6], out)
    lanes = _Lanes(builder, start, stride, count)
    total = builder.add(length, WORD64(1))
    masks, shift = _masks(builder), builder.sub(WORD64(BLOCK_BYTES), total)
    mask = load(builder, VECTOR, masks, shift)
    rows = [builder.and_(load(builder, VECTOR, base, offset), mask) for offset in lanes.offsets]
    message: list[ir.Value | None] = [*_transpose(builder, rows), *([None] * 8)]
    message[0] = _set_prefix(builder, message[0], WORD64(~0xFF), prefix)
    ninth = constant(VECTOR, 0)
    for lane, offset in enumerate(lanes.offsets):
        word = load(builder, WORD64, base, builder.add(offset, WORD64(64)))
        ninth = builder.insert_element(ninth, word, ir.IntType(32)(lane))
    ninth_mask = load(builder, WORD64, masks, builder.add(shift, WORD64(64)))
    message[8] = builder.and_(ninth, splat(builder, ninth_mask, LANES))
    state = _compress(builder, _first_words(builder), message, total, WORD64(-1))
    _write(builder, state, target, _Lanes(builder, out_start, out_stride, count))
    return context.get_dummy_value()


def _generate_long(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    data, start, stride, count, length, prefix, out, out_start, out_stride = args
    base = builder.gep(data_pointer(context, builder, signature.args[0], data), [WORD64(-1)])
    target = data_pointer(context, builder, signature.args[6], out)
    lanes = _Lanes(builder, start, stride, count)
    total = builder.add(length, WORD64(1))
    blocks = builder.udiv(builder.add(length, WORD64(BLOCK_BYTES)), WORD64(BLOCK_BYTES))
    state = [
        cgutils.alloca_once_value(builder, word)  # type: ignore[no-untyped-call]
        for word in _first_words(builder)
    ]
    masks = _masks(builder)
    with cgutils.for_range(builder, blocks) as loop:
        place = builder.mul(loop.index, WORD64(BLOCK_BYTES))
        left = builder.sub(total, place)
        is_last = builder.icmp_signed("<=", left, WORD64(BLOCK_BYTES))
        kept = builder.select(is_last, left, WORD64(BLOCK_BYTES))
        message: list[ir.Value | None] = []
        for half in range(2):
            shift = builder.add(builder.sub(WORD64(BLOCK_BYTES), kept), WORD64(64 * half))
            mask = load(builder, VECTOR, masks, shift)
            here = builder.add(place, WORD64(64 * half))
            rows = [load(builder, VECTOR, base, builder.add(offset, here)) for offset in lanes.offsets]
            message += _transpose(builder, [builder.and_(row, mask) for row in rows])
        is_first = builder.icmp_signed("==", loop.index, WORD64(0))
        message[0] = _set_prefix(
            builder,
            message[0],
            builder.select(is_first, WORD64(~0xFF), WORD64(-1)),
            builder.select(is_first, prefix, WORD64(0)),
        )
        before = [builder.load(word) for word in state]
        final = builder.select(is_last, WORD64(-1), WORD64(0))
        after = _compress(builder, before, message, builder.add(place, kept), final)
        for slot, word in zip(state, after, strict=True):
            builder.store(word, slot)
    words = [builder.load(word) for word in state]
    _write(builder, words, target, _Lanes(builder, out_start, out_stride, count))
    return context.get_dummy_value()


def _intrinsic(generate: Any) -> Any:
    @intrinsic
    def hash_lanes(
        typing_context: Any,
        data: Any,
        start: Any,
        stride: Any,
        count: Any,
        length: Any,
        prefix: Any,
        out: Any,
        out_start: Any,
        out_stride: Any,
    ) -> Any:
        size = types.intp
        return types.void(data, size, size, size, size, size, out, size, size), generate

    return hash_lanes


hash_short = _intrinsic(_generate_short)
"""(data, start, stride, count ≤ 8, length ≤ 71, prefix, out, out_start, out_stride): digests of 32 bytes to `out`."""
hash_long = _intrinsic(_generate_long)
"""As `hash_short`, for any length."""
