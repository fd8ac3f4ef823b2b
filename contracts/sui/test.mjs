// Runs a Move package's unit tests in the virtual machine that the compiler brings. Usage: node test.mjs [package folder].
// Its signatures are none: it takes any BLS signature. So the tests in tests/ are of rules without signatures.
import { resolve } from "node:path";
import { MovePackageFetcher, testMovePackage } from "@zktx.io/sui-move-builder/full";
import { declarations, filesOf, HERE } from "./sources.mjs";

const files = filesOf(resolve(process.argv[2] ?? HERE), ["sources", "tests"]);
const tested = await testMovePackage({ files, fetcher: declarations(MovePackageFetcher) });
console.log(tested.error ?? tested.output);
process.exitCode = tested.passed ? 0 : 1;
