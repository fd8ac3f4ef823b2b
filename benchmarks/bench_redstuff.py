"""RedStuff against its peers, in one run on the same bytes: `make bench-redstuff`.

Peers: `pysui-fastcrypto` (the Walrus core in Rust), `@mysten/walrus-wasm` (the same as WebAssembly, in node),
`reed-solomon-leopard` (the Rust code that Walrus' own is built on). Ids and bytes are compared before a time
counts. Best of several repetitions each. "of limit" says how near a time comes to what the machine could do at
most: the hashing, the products and the bytes written, each at the peak rate measured in this run, one after the
other.

Prints a table and writes it to `benchmarks/results/redstuff.json`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from storage.redstuff import Axis, EncodedBlob, Parameters, RedStuff, SliverData

HERE = Path(__file__).parent
MIB = 1 << 20
AVX2_FEATURES = "+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+bmi,+bmi2,+fma,+lzcnt,+movbe"


@dataclass(frozen=True)
class Row:
    """One measurement beside its peer's; `goal` is the ratio asked for."""

    work: str
    n: int
    size_bytes: int
    threads: int
    ms: float
    peer: str
    peer_ms: float
    ratio: float
    goal: float
    of_limit: float | None


class Table:
    """The rows, printed as they come."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        heads = f"{'work':34} {'n':>4} {'size':>9} thr {'ms':>9}"
        print(f"{heads}  {'peer':20} {'peer ms':>9} {'ratio':>6} {'goal':>5} of limit")

    def add(
        self, work: str, n: int, size: int, threads: int, ms: float, peer: str, peer_ms: float, goal: float,
        limit_ms: float | None = None,
    ) -> None:  # fmt: skip
        """One row; `limit_ms` is the least the machine could take."""
        of_limit = None if limit_ms is None else round(limit_ms / ms, 2)
        row = Row(
            work,
            n,
            size,
            threads,
            round(ms, 4),
            peer,
            round(peer_ms, 4),
            round(peer_ms / ms, 2),
            goal,
            of_limit,
        )
        self.rows.append(row)
        mark = " " if row.ratio >= goal else "*"
        print(
            f"{work:34} {n:4} {size:9} {threads:3} {ms:9.3f}  {peer:20} {peer_ms:9.3f} {row.ratio:5.2f}{mark} {goal:5} "
            f"{'' if of_limit is None else of_limit}",
            flush=True,
        )


def best(
    work: Callable[[], Any], budget_s: float = 1.0, at_least: int = 3, at_most: int = 200
) -> tuple[float, Any]:
    """The shortest time in milliseconds, and the last result."""
    shortest, result, end, done = float("inf"), None, time.perf_counter() + budget_s, 0
    while done < at_least or (done < at_most and time.perf_counter() < end):
        start = time.perf_counter()
        result = work()
        shortest = min(shortest, time.perf_counter() - start)
        done += 1
    return shortest * 1e3, result


class Machine:
    """Peak rates of one core: copying, Blake2b of sixteen messages at once, multiply-add in GF(2^16)."""

    def __init__(self) -> None:
        from numba import njit

        from storage.redstuff.kernels import butterfly, load
        from storage.redstuff.kernels.blake2b import hash_long

        source = np.ones(64 * MIB, np.uint8)
        target = np.ones_like(source)
        self.copy_per_ms = len(source) / best(lambda: np.copyto(target, source))[0]

        multiply_add, tables = butterfly.multiply_add, load().tables(1024)

        @njit(nogil=True)
        def products(work: Any, tables: Any, times: int) -> None:
            for number in range(times):
                multiply_add(work, tables, 0, 1, 1, 3 + number % 7)

        work = np.ones((2, 8192), np.uint8)
        self.products_per_ms = 2000 * 8192 / best(lambda: products(work, tables, 2000))[0]

        @njit(nogil=True)
        def compressions(data: Any, out: Any, times: int) -> None:
            for _ in range(times):
                hash_long(data, 128, 1280, 8, 128 + 8 * 1280, 8, 1279, 0, out, 0, 32, 256)

        data, out = np.ones(16 * 1280 + 256, np.uint8), np.empty(512, np.uint8)
        self.compressions_per_ms = 100 * 160 / best(lambda: compressions(data, out, 100))[0]

    def encode_ms(self, n: int, size: int) -> float:
        """What an encoding takes at the least on one core."""
        shape = Parameters(n)
        t, p, s = shape.symbol_size(size), shape.p, shape.s
        hashes = n * n * -(-(t + 1) // 128) + 2 * n * n
        products = (p * butterflies(s, n) + n * butterflies(p, n)) * t
        written = n * (p + s) * t
        return (
            hashes / self.compressions_per_ms + products / self.products_per_ms + written / self.copy_per_ms
        )


def butterflies(k: int, n: int) -> int:
    """Products by a constant in the expansion of `k` symbols to `n`."""
    from storage.redstuff.reed_solomon import code

    shape = code(k, n)

    def transform(count: int) -> int:
        distances = [1 << layer for layer in range(shape.m.bit_length() - 1)]
        return sum(-(-count // (2 * distance)) * distance for distance in distances)

    inputs, outputs = (k, shape.m) if shape.high else (shape.m, n - k)
    if shape.high:
        return sum(transform(min(shape.m, inputs - first)) for first in range(0, k, shape.m)) + transform(
            n - k
        )
    return transform(k) + sum(transform(min(shape.m, outputs - first)) for first in range(0, n - k, shape.m))


def wasm(data: bytes, n: int, repeat: int) -> tuple[float, str]:
    """Best time of the WebAssembly encoder, and the id it finds."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        arguments = ["node", str(HERE / "peers" / "wasm.mjs"), file.name, str(n), str(repeat)]
        answer = json.loads(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)
    return answer["ms"], answer["blobId"]


def peer_id(encoded: Any) -> bytes:
    """The id in what `redstuff_encode` returns."""
    found = encoded.blob_id
    return found if isinstance(found, bytes) else bytes.fromhex(found)


def check_id(found: bytes, expected: bytes) -> None:
    """Times of different results are not compared."""
    if found != expected:
        sys.exit(f"a peer finds another blob id: {found.hex()}, not {expected.hex()}")


def bench_encode(table: Table, machine: Machine) -> None:
    """Encoding of whole blobs."""
    import pysui_fastcrypto as fastcrypto

    goals = {
        7: (1.0, 0.0, 0.0, 0.0),
        10: (2.5, 5.0, 5.0, 25.0),
        100: (3.0, 10.0, 5.0, 25.0),
        1000: (3.0, 10.0, 5.0, 25.0),
    }
    for n, size in [
        (7, 1024),
        (10, 1024),
        (10, MIB),
        *((n, m * MIB) for n in (100, 1000) for m in (1, 16, 64)),
    ]:
        data = os.urandom(size)
        rust_goal, wasm_goal, rust_goal2, wasm_goal2 = goals[n] if size > 1024 else goals[7]
        rust_ms, encoded = best(lambda d=data, k=n: fastcrypto.redstuff_encode(d, k), 2.0)  # type: ignore[misc]
        expected = peer_id(encoded)
        del encoded
        wasm_ms, found = wasm(data, n, 3 if size >= MIB else 100)
        check_id(bytes.fromhex(found), expected)
        for threads in (1, 2) if size >= 16 * MIB else (1,):
            code = RedStuff(n, threads=threads)
            ms, found_id = best(lambda c=code, d=data: c.encode(d).blob_id, 2.0)  # type: ignore[misc]
            check_id(found_id, expected)
            limit = machine.encode_ms(n, size) / threads
            table.add(
                "encode",
                n,
                size,
                threads,
                ms,
                "pysui-fastcrypto",
                rust_ms,
                rust_goal if threads == 1 else rust_goal2,
                limit,
            )
            if size >= MIB:
                table.add(
                    "encode",
                    n,
                    size,
                    threads,
                    ms,
                    "walrus-wasm",
                    wasm_ms,
                    wasm_goal if threads == 1 else wasm_goal2,
                    limit,
                )


def bench_decode(table: Table, n: int, size: int, goal: float) -> None:
    """Decoding from the last primaries, and what is done with single slivers."""
    import pysui_fastcrypto as fastcrypto

    data, code = os.urandom(size), RedStuff(n)
    blob = code.encode(data)
    t = code.symbol_size(size)
    slivers = {index: bytes(blob.sliver(Axis.PRIMARY, index)) for index in range(n - code.p, n)}
    encoded = [SliverData(sliver, t, index).to_bcs() for index, sliver in slivers.items()]
    metadata = fastcrypto.redstuff_verify_metadata(blob.blob_id + blob.metadata.to_bcs(), n)
    ms, decoded = best(lambda: code.decode(blob.metadata, Axis.PRIMARY, slivers, "skip"))
    rust_ms, rust = best(lambda: fastcrypto.redstuff_decode(encoded, size, n, "primary"))
    if not data == decoded == rust:
        sys.exit("decoded something else")
    table.add("decode, unchecked", n, size, 1, ms, "pysui-fastcrypto", rust_ms, goal)
    rust_ms, _ = best(lambda: fastcrypto.redstuff_decode_and_verify(encoded, metadata, "primary"))
    for check in ("default", "strict"):
        ms, _ = best(lambda c=check: code.decode(blob.metadata, Axis.PRIMARY, slivers, c))  # type: ignore[misc]
        table.add(f"decode, {check} check", n, size, 1, ms, "pysui-fastcrypto", rust_ms, goal)
    for axis in Axis:
        one = blob.sliver(axis, 3)
        bcs = SliverData(bytes(one), t, 3).to_bcs()
        ms, _ = best(lambda a=axis, o=one: code.verify_sliver(blob.metadata, a, 3, o), 0.5)  # type: ignore[misc]
        rust_ms, _ = best(lambda b=bcs, a=axis.label: fastcrypto.redstuff_verify_sliver(b, metadata, a), 0.5)  # type: ignore[misc]
        table.add(f"verify a {axis.label} sliver", n, size, 1, ms, "pysui-fastcrypto", rust_ms, 2.5)
        bench_recover(table, code, blob, axis, size)


def bench_recover(table: Table, code: RedStuff, blob: EncodedBlob, axis: Axis, size: int) -> None:
    """One sliver from the last helpers, and from random ones."""
    import reed_solomon_leopard as leopard

    n, k, target = code.n_shards, code.source_symbols(axis), 5
    t = code.symbol_size(size)
    for name, helpers in (("last", range(n - k, n)), ("random", random.Random(1).sample(range(n), k))):
        given = {
            index: bytes(
                code.recovery_symbols(axis.other, blob.sliver(axis.other, index), [target], t)[target]
            )
            for index in helpers
        }
        ms, sliver = best(lambda g=given: code.recover(blob.metadata, axis, target, g), 0.5)  # type: ignore[misc]
        originals = {index: symbol for index, symbol in given.items() if index < k}
        recoveries = {index - k: symbol for index, symbol in given.items() if index >= k}
        peer_ms, found = best(lambda o=originals, r=recoveries: leopard.decode(k, n - k, o, r), 0.5)  # type: ignore[misc]
        if any(bytes(symbol) != sliver[index * t : (index + 1) * t] for index, symbol in found.items()):
            sys.exit("recovered something else")
        table.add(
            f"recover {axis.label}, {name} helpers", n, size, 1, ms, "reed-solomon-leopard", peer_ms, 1.5
        )


CHILD = """
import json, os, sys, time
start = time.perf_counter()
from storage.redstuff import RedStuff
imported = time.perf_counter()
assert not {"galois", "numba"} & set(sys.modules)
n, size = int(sys.argv[1]), int(sys.argv[2])
data = open(sys.argv[3], "rb").read()
code = RedStuff(n)
before = time.perf_counter()
blob_id = code.encode(data).blob_id
first = time.perf_counter() - before
ms = 1e9
for _ in range(int(sys.argv[4])):
    begin = time.perf_counter()
    code.encode(data)
    ms = min(ms, (time.perf_counter() - begin) * 1e3)
print(json.dumps({"id": blob_id.hex(), "import": imported - start, "first": first, "ms": ms}))
"""


def child(data: bytes, n: int, repeat: int, **environment: str) -> dict[str, Any]:
    """Encode in a process of its own."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        arguments = [sys.executable, "-c", CHILD, str(n), str(len(data)), file.name, str(repeat)]
        done = subprocess.run(
            arguments, check=True, capture_output=True, env=os.environ | environment, text=True
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def bench_first_call(table: Table) -> None:
    """The first encoding of a process: kernels loaded from disk, and compiled. The peer is the time allowed."""
    data = os.urandom(MIB)
    child(data, 100, 0)
    warm = min(child(data, 100, 0)["first"] for _ in range(3))
    table.add("first call, warm cache", 100, MIB, 1, warm * 1e3, "allowed", 500, 1)
    cold = child(data, 100, 0, HAULOUT_KERNEL_CACHE="off")["first"]
    table.add("first call, cold cache", 100, MIB, 1, cold * 1e3, "allowed", 10_000, 1)


def bench_kinds(table: Table) -> None:
    """The other kernels: on this processor, and with all code made for a processor without the rest."""
    for n, size in ((100, MIB), (100, 16 * MIB), (1000, 16 * MIB)):
        data = os.urandom(size)
        wasm_ms, found = wasm(data, n, 3)
        for name, goal, environment in (
            ("encode, avx2 kernels", 7.0, {"HAULOUT_KERNELS": "avx2"}),
            (
                "encode, avx2 processor",
                7.0,
                {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": AVX2_FEATURES},
            ),
            ("encode, portable kernels", 3.0, {"HAULOUT_KERNELS": "portable"}),
            ("encode, plain x86-64 processor", 3.0, {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}),
        ):
            answer = child(data, n, 4, **environment)
            check_id(bytes.fromhex(answer["id"]), bytes.fromhex(found))
            table.add(name, n, size, 1, answer["ms"], "walrus-wasm", wasm_ms, goal)


def main() -> None:
    """All rows; exits with a message when a result differs from a peer's."""
    machine = Machine()
    print(
        f"one core: copies {machine.copy_per_ms / 1e6:.1f} GB/s, "
        f"multiply-adds {machine.products_per_ms / 1e6:.1f} GB/s, "
        f"Blake2b {machine.compressions_per_ms / 1e3:.1f} M blocks/s"
    )
    table = Table()
    bench_encode(table, machine)
    for n, size, goal in (
        (10, MIB, 2.0),
        (100, MIB, 1.5),
        (100, 16 * MIB, 1.5),
        (1000, MIB, 2.0),
        (1000, 16 * MIB, 2.0),
    ):
        bench_decode(table, n, size, goal)
    bench_first_call(table)
    bench_kinds(table)
    results = HERE / "results" / "redstuff.json"
    results.write_text("[\n" + ",\n".join(json.dumps(asdict(row)) for row in table.rows) + "\n]\n")
    missed = [row for row in table.rows if row.ratio < row.goal]
    print(
        f"{len(table.rows) - len(missed)} of {len(table.rows)} rows reach their goal (* marks those that do not)"
    )


if __name__ == "__main__":
    main()
