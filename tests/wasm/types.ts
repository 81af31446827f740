// What the package's types allow, and what they do not: `tests/wasm/package.py` compiles this.

import { KingletError, Model } from "kinglet-wasm";
import type { Memory, Piece, Reply, Result, Session, Tokens } from "kinglet-wasm";

export async function use(file: Blob, stream: ReadableStream<Uint8Array>): Promise<string> {
  const { signal } = new AbortController();
  const model: Model = await Model.open("model.kinglet", {
    signal,
    onProgress: ({ done, total }) => console.log(done / total),
    trust: { key: "RW", modelId: "bird", leastVersion: 7n },
  });
  await Promise.all([Model.open(file), Model.open(stream), Model.open(new Uint8Array(1))]);
  const plan: Memory = await model.plan({ context: 512, kv: "f16" });
  const session: Session = await model.session({ context: plan.totalBytes });
  const tokens: Tokens = await model.encode("a", { control: true });
  await session.prefill(tokens, { signal });
  const reply: Reply = session.chat([{ role: "user", content: "b" }], {
    maxTokens: 10,
    sampling: { temperature: 0.7, logitBias: { 5: -1 }, seed: 1n },
    stop: ["\n"],
    logprobs: 2,
  });
  const pieces: Piece[] = [];
  for await (const piece of reply) {
    pieces.push(piece);
  }
  const { stopReason }: Result = reply.result;
  const state: Uint8Array = await session.save();
  await session.restore(state);
  // @ts-expect-error: no such type of keys and values
  await model.session({ kv: "f8" });
  // @ts-expect-error: no such role
  session.chat([{ role: "bird", content: "c" }]);
  // @ts-expect-error: models are opened
  new Model();
  try {
    return stopReason + (await session.generate(null, { slide: true }).read());
  } catch (error) {
    return error instanceof KingletError ? String(error.code) : "";
  } finally {
    await model.close();
  }
}
