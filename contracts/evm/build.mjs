// Compiles src/ with npm's solc and writes artifacts/<contract>.json: {contractName, abi, bytecode, deployedBytecode}.
// Usage: node build.mjs [output folder]. The same sources give the same bytes on every machine.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
const OUTPUT = process.argv[2] ?? join(HERE, "artifacts");
const CONTRACTS = ["HauloutToken", "Timelock", "Staking", "Registry", "Committee", "Blobs", "Ballot", "Proofs"];
// Contracts that a contract creates for itself, and whose errors it passes on to its callers.
const PARTS = { Committee: ["Election"] };
const LARGEST_CODE_BYTES = 24576; // EIP-170
// Import prefixes and the packages they come from; foundry.toml has the same.
const REMAPPINGS = { "@openzeppelin/": "@openzeppelin/", "solady/": "solady/src/" };

const SETTINGS = {
  optimizer: { enabled: true, runs: 400 },
  viaIR: true,
  evmVersion: "prague",
  metadata: { bytecodeHash: "none", appendCBOR: false },
  remappings: Object.entries(REMAPPINGS).map(([from, to]) => `${from}=node_modules/${to}`),
  outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
};

function sources(folder) {
  const found = {};
  for (const entry of readdirSync(folder, { recursive: true }).sort()) {
    if (!entry.endsWith(".sol")) continue;
    const path = join(folder, entry);
    found[relative(HERE, path).replaceAll("\\", "/")] = { content: readFileSync(path, "utf8") };
  }
  return found;
}

function compile() {
  const solc = createRequire(import.meta.url)("solc");
  const input = { language: "Solidity", sources: sources(join(HERE, "src")), settings: SETTINGS };
  const findImport = (path) => ({ contents: readFileSync(join(HERE, path), "utf8") });
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: findImport }));
  // A warning counts as an error, unless it is about the code of a dependency.
  const isOurs = ({ severity, sourceLocation }) =>
    severity === "error" || !sourceLocation?.file.startsWith("node_modules/");
  const problems = (output.errors ?? []).filter(isOurs);
  for (const problem of problems) console.error(problem.formattedMessage);
  if (problems.length > 0) throw new Error(`solc reported ${problems.length} problems`);
  return output.contracts;
}

const contracts = compile();
mkdirSync(OUTPUT, { recursive: true });
for (const name of CONTRACTS) {
  const { abi, evm } = contracts[`src/${name}.sol`][name];
  const parts = (PARTS[name] ?? []).flatMap((part) => contracts[`src/${part}.sol`][part].abi);
  abi.push(...parts.filter(({ type }) => type === "error"));
  const size = evm.deployedBytecode.object.length / 2;
  if (size > LARGEST_CODE_BYTES) throw new Error(`${name} is ${size} bytes, ${LARGEST_CODE_BYTES} are allowed`);
  const artifact = {
    contractName: name,
    abi,
    bytecode: `0x${evm.bytecode.object}`,
    deployedBytecode: `0x${evm.deployedBytecode.object}`,
  };
  writeFileSync(join(OUTPUT, `${name}.json`), `${JSON.stringify(artifact, null, 1)}\n`);
  console.log(`${name}: ${size} bytes`);
}
