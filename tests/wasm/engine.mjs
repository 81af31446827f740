// What no caller of the package sees: structs, and how much of the stack is used.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

/** Functions need so many bytes of the stack, see `kinglet.h`. */
const STACK_NEEDED = 32768;
/** Where the stack begins, from which it grows down to 0: `-zstack-size` of `boards/wasm/build`. */
const STACK = 65536;
/** Structs that the package does not use. */
const UNUSED = ["log_sink", "reply", "call", "constraint", "signature_info"].map(
  (name) => `kinglet_${name}`,
);

/** `kinglet_model_info` is `ModelInfo`. */
function nameOf(struct) {
  const words = struct.split("_").slice(1);
  return words.map((word) => word[0].toUpperCase() + word.slice(1)).join("");
}

/** Structs have the fields of the recorded interface, in their order. */
async function checkLayout(layout, record) {
  const fields = {};
  for (const line of (await readFile(record, "utf8")).split("\n")) {
    const [kind, place] = line.split(" ");
    const [struct, field] = kind === "field" ? place.split(".") : [];
    if (field && !UNUSED.includes(struct)) {
      (fields[struct] ??= []).push(field);
    }
  }
  assert.equal(Object.keys(fields).length, 10);
  for (const [struct, names] of Object.entries(fields)) {
    assert.deepEqual(Object.keys(layout[nameOf(struct)].places), names, struct);
  }
}

export async function checkEngine(folder, { model: path, interface: record, texts, context }) {
  const load = (name) => import(pathToFileURL(`${folder}/lib/engine/${name}.js`));
  await checkLayout(await load("layout"), record);
  const [{ Library }, { Model }] = [await load("library"), await load("model")];
  const code = await readFile(`${folder}/kinglet-simd128.wasm`);
  const library = new Library(await WebAssembly.compile(code));
  const bytes = await readFile(path);
  const model = await Model.open(library, { bytes: bytes.length, chunks: [bytes] }, null, () => {});
  const session = model.session({ context });
  const on = { isStopped: () => false, onProgress() {}, onPiece() {} };
  for (const { prompt, sampling } of texts) {
    session.reply({ prompt, sampling, maxTokens: 20, logprobs: 3 }, on);
  }
  const deepest = library.memory.bytes(0, STACK).findIndex((byte) => byte !== 0);
  const used = STACK - deepest;
  assert(used > 1000 && used <= STACK_NEEDED, `${used} bytes of the stack`);
}
