/** Where weight files come from: chunks of bytes, and how many there will be. */

import { KingletError, Status } from "../error.js";

/** Bytes of a `Blob` that are read at a time. */
const PART = 4 << 20;

async function* partsOf(blob) {
  for (let start = 0; start < blob.size; start += PART) {
    yield new Uint8Array(await blob.slice(start, start + PART).arrayBuffer());
  }
}

async function* chunksOf(stream, url) {
  const reader = stream.getReader();
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      throw new KingletError(Status.NETWORK, `${url} broke off: ${error.message}`);
    }
    if (part.done) {
      return;
    }
    yield part.value;
  }
}

/** What servers say when they give no file. */
function refusal(status) {
  const codes = { 401: Status.UNAUTHORIZED, 403: Status.UNAUTHORIZED, 404: Status.NOT_FOUND };
  return codes[status] ?? Status.NETWORK;
}

async function fetched(url) {
  let response;
  try {
    response = await fetch(url);
  } catch (error) {
    const cause = error.cause?.message ?? error.message;
    throw new KingletError(Status.NETWORK, `${url} cannot be fetched: ${cause}`);
  }
  if (!response.ok) {
    const answer = `the server answers ${response.status}`;
    throw new KingletError(refusal(response.status), `${url} cannot be fetched: ${answer}`);
  }
  // What is packed on the way becomes more than its header says: memory then grows as it comes.
  const isPacked = response.headers.has("content-encoding");
  const bytes = isPacked ? 0 : Number(response.headers.get("content-length") ?? 0);
  return { bytes, chunks: chunksOf(response.body, url) };
}

/**
 * Opens what the page or program has named. `host.openPath` opens files where there are any;
 * `pull` asks the other side for its next bytes.
 */
export async function openSource(source, host, pull) {
  if (source.url) {
    return fetched(source.url);
  }
  if (source.path) {
    return host.openPath(source.path);
  }
  if (source.blob) {
    return { bytes: source.blob.size, chunks: partsOf(source.blob) };
  }
  return { bytes: source.bytes, chunks: pull };
}
