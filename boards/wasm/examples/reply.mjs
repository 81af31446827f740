// Prints a reply as it is generated: node reply.mjs MODEL.kinglet "What is a kinglet?"

import { Model } from "kinglet-wasm";

const [path, question] = process.argv.slice(2);
const model = await Model.open(path);
const session = await model.session();
const reply = session.chat([{ role: "user", content: question }], { maxTokens: 128 });
for await (const piece of reply) {
  process.stdout.write(piece.text);
}
console.log();
console.error(`${reply.result.tokensPerSecond.toFixed(1)} tokens/s, ${model.tier}`);
await model.close();
