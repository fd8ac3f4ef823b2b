// Drives Walrus' official client for a test: reads a request a line, writes an answer a line, all JSON.
//
//   {"node": url, "call": method, "arguments": {…}}   a method of its client for one storage node
//   {"call": method, "arguments": {…}}                a method of its client for a whole network
//   {"upload": bytes, "deletable": …, "objectId": …}  encode a blob, give it to all nodes, ask for confirmations
//   {"files": blobId}                                 the files of a quilt: [{identifier, tags, content}]
//   {"digest": text}                                  whether it is a digest of a transaction of Sui's
//
// → {"result": …}, or {"error": {class, status, reason, message}}. Bytes are {"bytes": base64}. The network is the first
// argument: {shards, epoch, nodes: [{url, shards, publicKey (hex)}]}. What the client would read of it from Sui it gets
// from there; all else is the package's own code.
import { createInterface } from "node:readline";
import { isValidTransactionDigest } from "@mysten/sui/utils";
import { WalrusClient } from "@mysten/walrus";
import { StorageNodeClient } from "./node_modules/@mysten/walrus/dist/storage-node/client.mjs";

const network = JSON.parse(process.argv[2]);

const nodes = network.nodes.map((node, nodeIndex) => ({
  id: String(nodeIndex),
  info: { public_key: { bytes: Buffer.from(node.publicKey, "hex") } },
  networkUrl: node.url,
  shardIndices: node.shards,
  nodeIndex,
}));
const byShardIndex = new Map(nodes.flatMap((node) => node.shardIndices.map((shard) => [shard, node])));
const kept = new Map([["getActiveCommittee", { nodes, byShardIndex }]]);
const cache = {
  read([name], load) {
    if (!kept.has(name)) kept.set(name, load());
    return kept.get(name);
  },
  clear() {},
};

class Client extends WalrusClient {
  async systemState() {
    return { committee: { n_shards: network.shards, epoch: network.epoch, members: nodes } };
  }
  async stakingState() {
    return { n_shards: network.shards, epoch: network.epoch, epoch_state: { $kind: "EpochChangeDone" } };
  }
  async upload(blob, deletable, objectId) {
    const encoded = await this.encodeBlob(blob);
    const confirmations = await this.writeEncodedBlobToNodes({ ...encoded, deletable, objectId });
    return { blobId: encoded.blobId, confirmations };
  }
}

async function filesOf(blobId) {
  const blob = await client.getBlob({ blobId });
  const files = await blob.files();
  return await Promise.all(
    files.map(async (file) => ({
      identifier: await file.getIdentifier(),
      tags: await file.getTags(),
      content: await file.bytes(),
    })),
  );
}

const client = new Client({
  packageConfig: {},
  storageNodeUrlScheme: "http",
  suiClient: { cache: { scope: () => cache } },
});
const nodeClient = new StorageNodeClient();

function fromJson(_, value) {
  return typeof value?.bytes === "string" ? new Uint8Array(Buffer.from(value.bytes, "base64")) : value;
}
function toJson(_, value) {
  if (value instanceof Uint8Array) return { bytes: Buffer.from(value).toString("base64") };
  return typeof value === "bigint" ? value.toString() : value;
}

async function answer(request) {
  if (request.digest !== undefined) return isValidTransactionDigest(request.digest);
  if (request.files) return await filesOf(request.files);
  if (request.upload) return await client.upload(request.upload, request.deletable, request.objectId);
  if (request.node) return await nodeClient[request.call](request.arguments, { nodeUrl: request.node });
  return await client[request.call](request.arguments);
}

for await (const line of createInterface({ input: process.stdin })) {
  let told;
  try {
    told = { result: (await answer(JSON.parse(line, fromJson))) ?? null };
  } catch (error) {
    const { status, message } = error;
    const reason = error.error?.error?.details?.[0]?.reason;
    told = { error: { class: error.constructor.name, status, reason, message } };
  }
  process.stdout.write(JSON.stringify(told, toJson) + "\n");
}
