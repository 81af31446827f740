// The calls of `node.py`: node.mjs FOLDER-OF-PACKAGES ADDRESS KEY.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [folder, address, key] = process.argv.slice(2);
const OpenAI = createRequire(`${folder}/`)("openai");
const client = new OpenAI({ baseURL: `${address}/v1`, apiKey: key, maxRetries: 0 });
const chat = client.chat.completions;
const model = (await client.models.list()).data[0].id;
const weather = {
  type: "function",
  function: {
    name: "weather",
    description: "Tells the weather.",
    parameters: {
      type: "object",
      properties: { city: { enum: ["Paris", "Rome"] } },
      required: ["city"],
      additionalProperties: false,
    },
  },
};

async function checkChats() {
  const messages = [
    { role: "system", content: "Be brief." },
    { role: "user", content: [{ type: "text", text: "What is a kinglet?" }] },
  ];
  const ask = { model, messages, max_tokens: 24, seed: 5 };
  const whole = await chat.create(ask);
  assert.ok(["stop", "length"].includes(whole.choices[0].finish_reason));
  const options = { stream: true, stream_options: { include_usage: true } };
  let text = "";
  let last;
  for await (const chunk of await chat.create({ ...ask, ...options })) {
    text += chunk.choices[0]?.delta.content ?? "";
    last = chunk;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.deepEqual(last.usage.completion_tokens, whole.usage.completion_tokens);
  const final = await chat.stream(ask).finalChatCompletion();
  assert.equal(final.choices[0].message.content, text);
  const several = await chat.create({ ...ask, n: 3, logprobs: true, top_logprobs: 4 });
  assert.equal(several.choices.length, 3);
  assert.ok(several.choices[2].logprobs.content.every((token) => token.top_logprobs.length === 4));
}

async function checkShapes() {
  const ask = { model, messages: [{ role: "user", content: "Is it a bird?" }], seed: 1 };
  const schema = {
    type: "object",
    properties: { is_bird: { type: "boolean" }, legs: { enum: [2, 4] } },
    required: ["is_bird", "legs"],
    additionalProperties: false,
  };
  const json_schema = { name: "answer", strict: true, schema };
  const response_format = { type: "json_schema", json_schema };
  const parsed = await chat.parse({ ...ask, response_format });
  const answer = JSON.parse(parsed.choices[0].message.content);
  assert.deepEqual(Object.keys(answer), ["is_bird", "legs"]);

  const choice = { type: "function", function: { name: "weather" } };
  const calls = { tools: [weather], tool_choice: choice };
  const called = (await chat.create({ ...ask, ...calls })).choices[0];
  assert.equal(called.finish_reason, "tool_calls");
  const { city } = JSON.parse(called.message.tool_calls[0].function.arguments);
  assert.ok(["Paris", "Rome"].includes(city));

  // The package calls the function and sends back what it returns.
  const asked = [];
  const tell = ({ city }) => `rain in ${asked[asked.push(city) - 1]}`;
  const tool = { ...weather, function: { ...weather.function, function: tell, parse: JSON.parse } };
  const runner = chat.runTools({ ...ask, tools: [tool], tool_choice: choice, stream: true });
  assert.match(await runner.finalFunctionToolCallResult(), /^rain in (Paris|Rome)$/);
  assert.equal(asked.length, 1);
  const messages = [...ask.messages, called.message];
  for (const call of called.message.tool_calls) {
    messages.push({ role: "tool", tool_call_id: call.id, content: "rain" });
  }
  await chat.create({ ...ask, messages, tools: [weather], max_tokens: 8 });
}

async function checkCompletions() {
  const tokens = [30, 40, 50, 60, 70];
  const told = await client.completions.create({
    model, prompt: tokens, echo: true, logprobs: 1, max_tokens: 1, temperature: 0,
  });
  assert.equal(told.choices[0].logprobs.token_logprobs.length, 6);
}

async function left() {
  const page = await fetch(`${address}/metrics`, { headers: { authorization: `Bearer ${key}` } });
  return Number(/^kinglet_abandoned_total (\d+)$/m.exec(await page.text())[1]);
}

// Waits until the server has noticed that this client left once more.
async function hasLeft(before) {
  for (let tries = 0; tries < 500 && (await left()) === before; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.equal(await left(), before + 1);
}

async function checkCancellation() {
  const messages = [{ role: "user", content: "Count." }];
  // Without a token that ends the text, the reply would take all of the context.
  const ask = { model, messages, logit_bias: { 2: -100 } };
  const before = await left();
  const stream = await chat.create({ ...ask, stream: true });
  for await (const chunk of stream) {
    if (chunk.choices[0].delta.content) stream.controller.abort();
  }
  await hasLeft(before);
  const controller = new AbortController();
  const whole = chat.create(ask, { signal: controller.signal });
  setTimeout(() => controller.abort(), 20);
  await assert.rejects(whole, OpenAI.APIUserAbortError);
  await hasLeft(before + 1);
}

async function checkFailures() {
  const messages = [{ role: "user", content: "a" }];
  const image = { type: "image_url", image_url: { url: "data:image/png;base64," } };
  const shown = [{ role: "user", content: [image] }];
  for (const fields of [{ temperature: 9 }, { messages: [] }, { messages: shown }]) {
    await assert.rejects(chat.create({ model, messages, ...fields }), (error) => {
      return error instanceof OpenAI.BadRequestError && error.error.message.length > 0;
    });
  }
  const stranger = new OpenAI({ baseURL: `${address}/v1`, apiKey: "wrong", maxRetries: 0 });
  await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
}

await checkChats();
await checkShapes();
await checkCompletions();
await checkCancellation();
await checkFailures();
