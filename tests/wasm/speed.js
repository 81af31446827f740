// Tokens per second of a prompt and of a reply, behind a first round in which engines compile.

const PROMPT = 256;
const REPLY = 64;

export async function speed(Model, source, options) {
  const model = await Model.open(source, options);
  const session = await model.session({ context: PROMPT + REPLY });
  const prompt = Uint32Array.from({ length: PROMPT }, (_, i) => 30 + ((i * 7919) % 40000));
  let result = null;
  for (let round = 0; round < 2; round++) {
    await session.reset();
    const reply = session.generate(prompt, { maxTokens: REPLY, ignoreEnd: true });
    await reply.read();
    result = reply.result;
  }
  const { totalBytes } = await model.memory();
  await model.close();
  const { promptSeconds, tokensPerSecond: decode } = result;
  return { tier: model.tier, prefill: PROMPT / promptSeconds, decode, totalBytes };
}
