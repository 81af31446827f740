/** Something failed. `code` is the number of the C library's status, which never changes. */
export class KingletError extends Error {
  constructor(code, message) {
    super(message);
    this.name = "KingletError";
    this.code = code;
  }

  toString() {
    return `${this.message} (error ${this.code})`;
  }
}

/** Statuses that the package itself gives or looks at. */
export const Status = Object.freeze({
  OK: 0,
  NOT_FOUND: 101,
  UNREADABLE: 102,
  NETWORK: 105,
  UNAUTHORIZED: 106,
  INTERRUPTED: 108,
  BAD_ARGUMENT: 404,
  BUSY: 407,
  BUFFER_TOO_SMALL: 408,
  BAD_HANDLE: 411,
  TIER_UNAVAILABLE: 501,
  RESOURCE: 502,
  INTERNAL: 601,
});

/** What a message can carry of a failure. */
export function packed(error) {
  if (error instanceof KingletError) {
    return { code: error.code, message: error.message };
  }
  // A trap is a broken invariant or a fault of the package's own.
  return { code: Status.INTERNAL, message: `${error?.stack ?? error}` };
}

/** The failure that a message has carried. */
export function unpacked({ code, message }) {
  return new KingletError(code, message);
}
