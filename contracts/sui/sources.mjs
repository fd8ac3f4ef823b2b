// What the compiler is given: a package's files, and our declarations of Sui's framework.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const HERE = dirname(fileURLToPath(import.meta.url));
const FRAMEWORK = join(HERE, "framework");

// Move.toml and the Move files in some of a package's folders: path in the package → text.
export function filesOf(folder, parts = ["sources"]) {
  const paths = ["Move.toml"];
  for (const part of parts.filter((part) => existsSync(join(folder, part)))) {
    const found = readdirSync(join(folder, part), { recursive: true }).filter((path) => path.endsWith(".move"));
    paths.push(...found.sort().map((path) => `${part}/${path.replaceAll("\\", "/")}`));
  }
  return Object.fromEntries(paths.map((path) => [path, readFileSync(join(folder, path), "utf8")]));
}

// A fetcher of the compiler, which asks for the framework by its address on the internet and gets our declarations.
export function declarations(MovePackageFetcher) {
  return new (class extends MovePackageFetcher {
    async fetch(_url, _revision, folder) {
      return filesOf(join(FRAMEWORK, folder.split("/").at(-1)));
    }
    async fetchFile(_url, _revision, path) {
      const [, name, file] = path.match(/packages\/([^/]+)\/(.+)$/);
      return filesOf(join(FRAMEWORK, name))[file] ?? null;
    }
    getResolvedSha(_url, revision) {
      return revision;
    }
  })();
}
