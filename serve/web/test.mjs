// Tests of the pages' pure parts, by Node's own runner: node test.mjs
import { build } from "esbuild";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folder = mkdtempSync(join(tmpdir(), "page-tests-"));
try {
  await build({
    entryPoints: below("test", ".test.ts"),
    outdir: folder,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    format: "esm",
    platform: "node",
    logLevel: "warning",
  });
  process.exitCode = spawnSync(process.execPath, ["--test", ...below(folder, ".test.mjs")], { stdio: "inherit" }).status ?? 1;
} finally {
  rmSync(folder, { recursive: true });
}

function below(root, ending) {
  const names = readdirSync(root, { recursive: true });
  return names.filter((name) => name.endsWith(ending)).map((name) => join(root, name));
}
