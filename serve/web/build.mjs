// Bundles both pages: node build.mjs [OUTPUT]. One HTML file a page, beside it assets/ with a hash in
// every name, so that they may be kept for ever, each with its compressed forms for the ingress to
// send. Paths are relative: the pages work under any prefix.
import { build } from "esbuild";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const PAGES = [
  { name: "participant", root: "../" }, // /join/{session_id}
  { name: "fleet", root: "" }, // /
];
const PLACE = "<!-- assets -->";
const COMPRESSIBLE = /\.(js|css|svg|html)$/;

const output = process.argv[2] ?? "dist";
await rm(output, { recursive: true, force: true });
await mkdir(join(output, "assets"), { recursive: true });

const { metafile } = await build({
  entryPoints: Object.fromEntries(PAGES.map(({ name }) => [name, `src/${name}/main.ts`])),
  outdir: join(output, "assets"),
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  assetNames: "[name]-[hash]",
  bundle: true,
  splitting: true,
  format: "esm",
  target: ["es2022", "safari16"],
  minify: true,
  sourcemap: false,
  legalComments: "linked",
  metafile: true,
  logLevel: "warning",
});

for (const { name, root } of PAGES) {
  const template = await readFile(`src/${name}/index.html`, "utf8");
  if (!template.includes(PLACE)) throw new Error(`src/${name}/index.html has no ${PLACE}`);
  await writeFile(join(output, `${name}.html`), template.replace(PLACE, tags(name, root)));
}
for (const folder of [output, join(output, "assets")]) {
  for (const name of await readdir(folder)) {
    if (COMPRESSIBLE.test(name)) await compress(join(folder, name));
  }
}

/** The page's own bundle and what it imports at once; what is imported later is loaded later. */
function tags(name, root) {
  const [path, entry] = outputOf(`src/${name}/main.ts`);
  const url = (file) => `${root}assets/${file.split("/").at(-1)}`;
  const early = entry.imports.filter(({ kind }) => kind === "import-statement");
  return [
    ...(entry.cssBundle ? [`<link rel="stylesheet" href="${url(entry.cssBundle)}">`] : []),
    ...early.map((part) => `<link rel="modulepreload" href="${url(part.path)}">`),
    `<script type="module" src="${url(path)}"></script>`,
  ].join("\n    ");
}

function outputOf(source) {
  return Object.entries(metafile.outputs).find(([, { entryPoint }]) => entryPoint === source);
}

async function compress(path) {
  const content = await readFile(path);
  const quality = { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY };
  await writeFile(`${path}.br`, brotliCompressSync(content, { params: quality }));
  await writeFile(`${path}.gz`, gzipSync(content, { level: 9 }));
}
