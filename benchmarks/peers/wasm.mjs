// Encodes FILE for N shards with @mysten/walrus-wasm, REPEAT times; prints {ms: best, blobId: hex} as JSON.
// Arguments: FILE N REPEAT. Buffers are made before the clock starts, and reused.
import { readFileSync } from "node:fs";
import { BlobEncoder } from "@mysten/walrus-wasm";

const [file, shards, repeat] = process.argv.slice(2);
const data = new Uint8Array(readFileSync(file));
const n = Number(shards);
const f = Math.floor((n - 1) / 3);
const [p, s] = [n - 2 * f, n - f];
let symbol = Math.ceil(Math.max(data.length, 1) / (p * s));
symbol += symbol % 2;

function uleb128Length(number) {
  let length = 1;
  for (; number > 0x7f; number = Math.floor(number / 128)) length += 1;
  return length;
}

const buffers = (symbols) =>
  Array.from({ length: n }, () => new Uint8Array(symbols * symbol + uleb128Length(symbols * symbol) + 4));
const [primary, secondary] = [buffers(s), buffers(p)];
const encoder = new BlobEncoder(n);
let best = Infinity;
for (let i = 0; i < Number(repeat); i += 1) {
  const start = performance.now();
  encoder.encode(data, primary, secondary);
  best = Math.min(best, performance.now() - start);
}
const metadata = encoder.compute_metadata(data);
const id = metadata.blob_id ?? metadata.get?.("blob_id") ?? metadata[0];
process.stdout.write(JSON.stringify({ ms: best, blobId: Buffer.from(id).toString("hex") }) + "\n");
