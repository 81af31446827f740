/**
 * Numbers and structs of `kinglet.h`, as the library for 32-bit WebAssembly has them.
 *
 * `tests/wasm/check.mjs` holds them against the recorded interface of the C library.
 */

const SIZES = { u32: 4, f32: 4, size: 4, pointer: 4, u64: 8 };

/** A struct of fields by their types; `bytes:N` and `text:N` are N bytes. */
function struct(fields) {
  let end = 0;
  let alignment = 4;
  const places = {};
  for (const [name, type] of Object.entries(fields)) {
    const [kind, count] = type.split(":");
    const size = SIZES[kind] ?? Number(count);
    const needed = kind === "u64" ? 8 : kind in SIZES ? 4 : 1;
    const offset = Math.ceil(end / needed) * needed;
    alignment = Math.max(alignment, needed);
    places[name] = { kind, offset, size };
    end = offset + size;
  }
  return Object.freeze({ bytes: Math.ceil(end / alignment) * alignment, places });
}

export const NO_TOKEN = 0xffffffff;
export const ALIGNMENT = 64;
export const KV = Object.freeze({ int8: 0, f16: 1 });
export const POOL = Object.freeze({ mean: 0, last: 1 });
export const SESSION_SPECULATE = 2;
export const TOKENIZE_CONTROL = 1;
export const DETOKENIZE_SKIP_CONTROL = 1;
export const CHAT_REPLY_NEXT = 1;
export const GENERATE_IGNORE_END = 1;
export const GENERATE_SLIDE = 2;

/** Why a reply ended, by the library's number. */
export const STOP_REASONS = Object.freeze({
  1: "max-tokens",
  2: "end-of-text",
  3: "stop-string",
  4: "context-full",
  5: "stopped",
  6: "stopped",
  8: "complete",
});

export const ModelInfo = struct({
  struct_size: "size",
  file_bytes: "size",
  read_bytes_per_token: "size",
  vocabulary: "u32",
  max_context: "u32",
  longest_token_bytes: "u32",
  has_chat_template: "u32",
  fingerprint: "bytes:32",
  embedding_size: "u32",
  reserved: "u32",
});

export const Trust = struct({
  struct_size: "size",
  key: "pointer",
  model_id: "pointer",
  reserved: "size",
  least_version: "u64",
  flags: "u32",
  reserved_flags: "u32",
});

export const Message = struct({ role: "pointer", content: "pointer" });

export const SessionOptions = struct({
  struct_size: "size",
  context: "u32",
  batch: "u32",
  threads: "u32",
  kv: "u32",
  flags: "u32",
  reserved: "u32",
  tier: "pointer",
  run_parts: "pointer",
  run_parts_user: "pointer",
  clock: "pointer",
  clock_user: "pointer",
  texts: "u32",
  reserved_texts: "u32",
  memory_budget_bytes: "size",
});

export const SessionInfo = struct({
  struct_size: "size",
  bytes: "size",
  tokens: "u32",
  context: "u32",
  batch: "u32",
  threads: "u32",
  tier: "text:16",
  texts: "u32",
  text: "u32",
  device_bytes: "size",
});

export const LogitBias = struct({ token: "u32", bias: "f32" });

export const Sampling = struct({
  struct_size: "size",
  logit_bias: "pointer",
  logit_bias_count: "size",
  reserved: "size",
  seed: "u64",
  repetition_penalty: "f32",
  repetition_window: "u32",
  temperature: "f32",
  top_k: "u32",
  top_p: "f32",
  min_p: "f32",
  presence_penalty: "f32",
  frequency_penalty: "f32",
  penalizes_prompt: "u32",
  reserved_penalties: "u32",
});

export const Candidate = struct({ token: "u32", log_probability: "f32" });

export const GenerateOptions = struct({
  struct_size: "size",
  max_tokens: "u32",
  flags: "u32",
  stop: "pointer",
  stop_count: "size",
  constraint: "pointer",
  candidates: "pointer",
  candidate_capacity: "size",
  top_count: "u32",
  reserved: "u32",
  schema: "pointer",
  schema_bytes: "size",
});

export const Generation = struct({
  struct_size: "size",
  tokens: "u32",
  stop_reason: "u32",
  steps: "u32",
  drafted: "u32",
  accepted: "u32",
  reserved: "u32",
  slides: "u32",
  reserved_slides: "u32",
  forced: "u32",
  reserved_forced: "u32",
});

const UTF8 = new TextDecoder();

/** Writes a struct, its size first where it has one; fields that are not given are zero. */
export function write(view, at, { bytes, places }, values) {
  new Uint8Array(view.buffer, at, bytes).fill(0);
  const given = "struct_size" in places ? { struct_size: bytes, ...values } : values;
  for (const [name, value] of Object.entries(given)) {
    const { kind, offset } = places[name];
    if (kind === "f32") {
      view.setFloat32(at + offset, value, true);
    } else if (kind === "u64") {
      view.setBigUint64(at + offset, BigInt(value), true);
    } else {
      view.setUint32(at + offset, value, true);
    }
  }
}

/** The fields of a struct. */
export function read(view, at, { places }) {
  const values = {};
  for (const [name, { kind, offset, size }] of Object.entries(places)) {
    if (kind === "f32") {
      values[name] = view.getFloat32(at + offset, true);
    } else if (kind === "u64") {
      values[name] = view.getBigUint64(at + offset, true);
    } else if (kind === "bytes" || kind === "text") {
      const bytes = new Uint8Array(view.buffer, at + offset, size).slice();
      values[name] = kind === "bytes" ? bytes : UTF8.decode(bytes).replace(/\0.*$/, "");
    } else {
      values[name] = view.getUint32(at + offset, true);
    }
  }
  return values;
}
