// Compiles a Move package with the wasm build of Sui's compiler, and writes <output folder>/<package's name>.json:
// {packageName, compiler, modules: {name: base64}, dependencies, digest, errors: {code: name}}.
// Usage: node build.mjs [output folder] [package folder]. The same sources give the same bytes on every machine.
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { dumpMovePackage, getPinnedSuiVersion, MovePackageFetcher } from "@zktx.io/sui-move-builder";
import { declarations, filesOf, HERE } from "./sources.mjs";

const OUTPUT = process.argv[2] ?? join(HERE, "artifacts");
const PACKAGE = resolve(process.argv[3] ?? HERE);
const LARGEST_PACKAGE_BYTES = 102400; // Sui's limit on the modules of a package together
const [IDENTIFIERS, MODULE_HANDLES] = [7, 1]; // tables of a compiled module

async function compile(files) {
  const built = await dumpMovePackage({ files, fetcher: declarations(MovePackageFetcher), lintFlag: "all" });
  // A warning counts as an error.
  const problems = built.error ?? built.warnings;
  if (problems) throw new Error(`the compiler reported:\n${problems}`);
  return built;
}

// The name that a compiled module gives itself: an identifier that its own handle, behind all tables, points to.
function nameOf(module) {
  let at = 8; // behind magic and version
  const number = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = module.readUInt8(at++);
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  const tables = Array.from({ length: number() }, () => ({ kind: module.readUInt8(at++), start: number(), length: number() }));
  const contents = at;
  const startOf = (wanted) => contents + tables.find(({ kind }) => kind === wanted).start;
  at = contents + Math.max(...tables.map(({ start, length }) => start + length));
  const self = number();
  at = startOf(MODULE_HANDLES);
  for (let i = 0; i < 2 * self + 1; ++i) number(); // a handle is an address and an identifier
  const identifier = number();
  at = startOf(IDENTIFIERS);
  for (let i = 0; i < identifier; ++i) {
    const length = number();
    at += length;
  }
  const length = number();
  return module.subarray(at, at + length).toString();
}

// Abort codes, whose names bytecode does not have: code → name. A code has one name in the package, and a name one code.
function errorsOf(files) {
  const [names, codes] = [{}, {}];
  for (const text of Object.values(files)) {
    for (const [, name, code] of text.matchAll(/^const (E[A-Z]\w*): u64 = (\d+);$/gm)) {
      if ((names[code] ??= name) !== name) throw new Error(`abort code ${code} is both ${names[code]} and ${name}`);
      if ((codes[name] ??= code) !== code) throw new Error(`error ${name} has the abort codes ${codes[name]} and ${code}`);
    }
  }
  return names;
}

const files = filesOf(PACKAGE);
const errors = errorsOf(files);
const { modules, dependencies, digest } = await compile(files);
const decoded = modules.map((module) => Buffer.from(module, "base64"));
const size = decoded.reduce((sum, module) => sum + module.length, 0);
const packageName = files["Move.toml"].match(/^name = "(\w+)"$/m)[1];
if (size > LARGEST_PACKAGE_BYTES) throw new Error(`${packageName} is ${size} bytes, ${LARGEST_PACKAGE_BYTES} are allowed`);
const artifact = {
  packageName,
  compiler: await getPinnedSuiVersion(),
  modules: Object.fromEntries(decoded.map((module, i) => [nameOf(module), modules[i]]).sort()),
  dependencies,
  digest: Buffer.from(digest).toString("hex"),
  errors,
};
mkdirSync(OUTPUT, { recursive: true });
writeFileSync(join(OUTPUT, `${packageName}.json`), `${JSON.stringify(artifact, null, 1)}\n`);
console.log(`${packageName}: ${decoded.length} modules, ${size} bytes`);
