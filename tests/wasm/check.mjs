// What the package for WebAssembly promises, in Node: check.mjs PACKAGE EXPECTED.json
//
// `tests/commands/wasm.rs` writes what it expects, and runs this.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import { checkEngine } from "./engine.mjs";
import { serve } from "./server.mjs";

const [folder, path] = process.argv.slice(2);
const expected = JSON.parse(await readFile(path, "utf8"));
const { Model, KingletError } = await import(pathToFileURL(`${folder}/node.js`));
const bytes = await readFile(expected.model);

/** A promise fails with this number, and with a sentence. */
async function fails(code, promise, sentence = /./) {
  await assert.rejects(promise, (error) => {
    assert(error instanceof KingletError, `${error.stack}`);
    assert.equal(error.code, code, `${error}`);
    return assert.match(error.message, sentence) ?? true;
  });
}

async function opened(source, options) {
  const model = await Model.open(source, options);
  const { fingerprint, fileBytes } = model.info;
  assert.equal(fileBytes, bytes.length);
  await model.close();
  return Buffer.from(fingerprint).toString("hex");
}

/** Every way to a file leads to the same model, and wrong ones to a number. */
async function sources() {
  const server = await serve(folder, expected.model);
  const blob = new Blob([bytes]);
  const progress = [];
  const found = [
    await opened(expected.model, { onProgress: (now) => progress.push(now) }),
    await opened(pathToFileURL(expected.model)),
    await opened(bytes),
    await opened(new Uint8Array(bytes).buffer),
    await opened(blob),
    await opened(blob.stream()),
    await opened(`${server.address}/plain/model.kinglet`),
    await opened(`${server.address}/packed/model.kinglet`),
  ];
  assert.equal(new Set(found).size, 1);
  assert.deepEqual(progress.at(-1), { done: bytes.length, total: bytes.length });
  await fails(101, Model.open(`${expected.model}.gone`), /there is no file/);
  await fails(101, Model.open(`${server.address}/plain/gone`), /404/);
  await fails(105, Model.open("http://127.0.0.1:1/model.kinglet"), /cannot be fetched/);
  await fails(201, Model.open(path));
  await fails(203, Model.open(bytes.subarray(0, bytes.length / 2)));
  const damaged = new Uint8Array(bytes);
  damaged[damaged.length - 100] ^= 1;
  const altered = await Model.open(damaged);
  await fails(204, altered.verify());
  await altered.close();
  await fails(404, Model.open(17));
  await fails(404, Model.open(expected.model, { tier: "neon" }), /relaxed-simd, simd128/);
  const gone = new AbortController();
  const open = Model.open(new ReadableStream({}), { signal: gone.signal });
  setTimeout(() => gone.abort(), 50);
  await assert.rejects(open, { name: "AbortError" });
  server.close();
}

async function signatures() {
  const { key, otherKey, signed } = expected;
  const trust = { key, modelId: "bird", leastVersion: 7 };
  await (await Model.open(signed, { trust })).close();
  await fails(206, Model.open(expected.model, { trust }));
  await fails(207, Model.open(signed, { trust: { key: otherKey } }));
  await fails(208, Model.open(signed, { trust: { ...trust, leastVersion: 8n } }));
}

/** Memory is what the plan says, and nothing that a reply does takes more. */
async function plans(model) {
  const options = { context: expected.context };
  const before = await model.memory();
  assert.equal(before.sessionBytes, 0);
  const plan = await model.plan(options);
  const session = await model.session(options);
  assert.equal(plan.sessionBytes, session.bytes);
  assert.deepEqual(await model.memory(), plan);
  assert.equal(plan.fileBytes + plan.sessionBytes + plan.restBytes, plan.totalBytes);
  assert(plan.restBytes < 400_000, `${plan.restBytes} bytes beside file and session`);
  for (const { prompt, sampling, text, tokens } of expected.texts) {
    await session.reset();
    const pieces = [];
    const reply = session.generate(prompt, { maxTokens: tokens.length, ignoreEnd: true, sampling });
    for await (const piece of reply) {
      pieces.push(piece);
    }
    assert.deepEqual(pieces.flatMap(({ token }) => token ?? []), tokens);
    assert.equal(pieces.map((piece) => piece.text).join(""), text);
    assert.equal(reply.result.tokens, tokens.length);
    assert.equal(reply.result.stopReason, "max-tokens");
  }
  assert.deepEqual(await model.memory(), plan);
  await session.close();
  const again = await model.session(options);
  assert.deepEqual(await model.memory(), plan);
  return again;
}

/** Replies that end before they are complete leave what was taken of them. */
async function endings(session) {
  const [{ prompt, tokens }] = expected.texts;
  const greedy = { maxTokens: tokens.length, ignoreEnd: true, sampling: {} };
  await session.reset();
  let taken = 0;
  const left = session.generate(prompt, greedy);
  for await (const { token } of left) {
    taken += token === null ? 0 : 1;
    await fails(407, session.reset());
    if (taken === 5) {
      break;
    }
  }
  const text = [...(await session.tokens())];
  assert.deepEqual(text.slice(-5), tokens.slice(0, 5));
  assert.equal(left.result.tokens, 5);
  const rest = { ...greedy, maxTokens: tokens.length - 5 };
  for await (const { token } of session.generate(null, rest)) {
    text.push(...(token === null ? [] : [token]));
  }
  assert.deepEqual(text.slice(-tokens.length), tokens);

  await session.reset();
  const stop = new AbortController();
  const endless = { maxTokens: 0, ignoreEnd: true, slide: true, signal: stop.signal };
  const reply = session.generate(prompt, endless);
  await reply.next();
  setTimeout(() => stop.abort(), 100);
  await assert.rejects(reply.read(), { name: "AbortError" });
  await assert.rejects(session.generate(prompt, endless).read(), { name: "AbortError" });
  const few = session.generate(prompt, { stop: ["e"], maxTokens: 0 });
  assert(!(await few.read()).includes("e"));
}

/** Prompts, and what else a session does. */
async function sessions(model, session) {
  const [{ prompt, tokens }] = expected.texts;
  await session.reset();
  const long = new Array(expected.context + 1).fill(30);
  await fails(401, session.prefill(long));
  const stop = new AbortController();
  const onProgress = ({ done }) => done > 0 && stop.abort();
  const read = session.prefill(long.slice(0, -50), { signal: stop.signal, onProgress });
  await read.catch((error) => assert.equal(error.name, "AbortError"));
  await session.reset();
  await session.prefill(prompt);
  const [best] = await session.top(3);
  const logits = await session.logits();
  assert.equal(logits.indexOf(Math.max(...logits)), best.token);
  assert.equal(best.token, tokens[0]);
  const state = await session.save();
  await session.reset();
  await session.restore(state);
  const again = session.generate(null, { maxTokens: 2, sampling: {}, logprobs: 2 });
  const first = await again.next();
  await again.return();
  assert.equal(first.value.token, tokens[0]);
  assert.deepEqual([first.value.top[0].token, first.value.top.length], [tokens[0], 2]);
  assert(Math.abs(first.value.logprob - best.logprob) < 1e-6);
  state[state.length - 1] ^= 1;
  await fails(204, session.restore(state));
  const vector = await session.embed(prompt);
  assert(Math.abs(vector.reduce((sum, x) => sum + x * x, 0) - 1) < 1e-4);
  const schema = await readFile(expected.table);
  await session.reset();
  const order = JSON.parse(await session.generate("Tea.\n", { schema, maxTokens: 100 }).read());
  assert(["tea", "coffee"].includes(order.item) && order.count >= 1 && order.count <= 9);
  const notable = session.generate(null, { schema: schema.subarray(1) });
  await fails(201, notable.read());
}

async function chats(model, session) {
  const turns = [{ role: "user", content: "What is a kinglet? <|im_end|>" }];
  const text = await model.chatText(turns);
  assert(text.includes(turns[0].content));
  assert.equal(await model.decode(await model.chatTokens(turns)), text);
  assert.equal(await model.decode(await model.encode("é 😀\0.")), "é 😀\0.");
  await session.reset();
  const reply = session.chat(turns, { maxTokens: 8, sampling: {} });
  turns.push({ role: "assistant", content: await reply.read() });
  turns.push({ role: "user", content: "And?" });
  const next = session.chat(turns, { maxTokens: 8 });
  await next.read();
  const whole = (await model.chatTokens(turns)).length;
  assert(next.result.promptTokens < whole - reply.result.promptTokens / 2);
  await fails(404, session.chat([{ role: "user", content: "a\0b" }]).read(), /zero/);
  await fails(404, model.session({ kv: "f32" }));
}

async function closing(model, session) {
  await session.close();
  await fails(411, session.tokens());
  await model.close();
  await fails(411, model.memory());
}

await checkEngine(folder, expected);
await sources();
await signatures();
const model = await Model.open(expected.model);
const session = await plans(model);
await endings(session);
await sessions(model, session);
await chats(model, session);
await closing(model, session);
console.log("the package does in Node what it promises");
