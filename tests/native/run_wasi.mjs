// Runs a WebAssembly program that expects a WASI system: node run_wasi.mjs PROGRAM ARGUMENT...
// It sees the folder of each argument that is a path.
import { readFileSync } from "node:fs";
import { dirname, isAbsolute } from "node:path";
import { WASI } from "node:wasi";

const args = process.argv.slice(2);
const folders = args.filter((text) => isAbsolute(text)).map((text) => dirname(text));
const wasi = new WASI({
    version: "preview1",
    args,
    preopens: Object.fromEntries(folders.map((folder) => [folder, folder])),
    returnOnExit: true,
});
const module = await WebAssembly.compile(readFileSync(args[0]));
const instance = await WebAssembly.instantiate(module, {
    wasi_snapshot_preview1: wasi.wasiImport,
});
process.exitCode = wasi.start(instance);
