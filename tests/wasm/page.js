async (texts) => {
  const { Model } = await import("../browser.js");
  const model = await Model.open("../model.kinglet", { tier: "simd128" });
  const options = { context: 256 };
  const planned = await model.plan(options);
  const session = await model.session(options);
  let ticks = 0;
  const clock = setInterval(() => ticks++, 1);
  let steps = 0;
  const found = [];
  for (const { prompt, sampling, tokens } of texts) {
    await session.reset();
    const length = { maxTokens: tokens.length, ignoreEnd: true };
    let text = "";
    const made = [];
    for await (const piece of session.generate(prompt, { ...length, sampling })) {
      text += piece.text;
      made.push(...(piece.token === null ? [] : [piece.token]));
      steps++;
    }
    found.push({ prompt, sampling, text, tokens: made });
  }
  // What nobody ends goes on for ever.
  const stop = new AbortController();
  const forever = { maxTokens: 0, ignoreEnd: true, slide: true, signal: stop.signal };
  setTimeout(() => stop.abort(), 200);
  const endless = await session.generate(null, forever).read().catch(({ name }) => name);
  const memory = await model.memory();
  clearInterval(clock);
  const file = new Blob(["no model"]);
  const error = await Model.open(file, { tier: "simd128" }).catch(({ code }) => code);
  await model.close();
  const isolated = globalThis.crossOriginIsolated;
  return { texts: found, steps, ticks, endless, memory, planned, error, isolated };
}
