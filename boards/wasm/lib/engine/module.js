/** Which of the package's modules an engine can run. */

import { KingletError, Status } from "../error.js";

/** A module with one function, of these instructions behind two vectors or none. */
function moduleOf(instructions) {
  const body = [0, ...instructions, 0x0b];
  return new Uint8Array([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...[1, 5, 1, 0x60, 0, 1, 0x7b],
    ...[3, 2, 1, 0],
    ...[10, body.length + 2, 1, body.length, ...body],
  ]);
}

const splat = (x) => [0x41, x, 0xfd, 0x0f];

/** Modules from the fastest on, and what tells whether an engine has their instructions. */
const MODULES = {
  // i16x8.relaxed_dot_i8x16_i7x16_s
  "relaxed-simd": moduleOf([...splat(1), ...splat(2), 0xfd, 0x92, 0x02]),
  simd128: moduleOf(splat(1)),
};

/** The fastest module that this engine runs, or the one that is asked for. */
export function moduleName(tier) {
  const names = Object.keys(MODULES);
  if (tier !== undefined && !names.includes(tier)) {
    const message = `there is no tier ${tier}: choose one of ${names.join(", ")}`;
    throw new KingletError(Status.BAD_ARGUMENT, message);
  }
  const wanted = tier === undefined ? names : [tier];
  const found = wanted.find((name) => WebAssembly.validate(MODULES[name]));
  if (!found) {
    const message = `this engine's WebAssembly has no ${wanted.at(-1)}: use a newer one`;
    throw new KingletError(Status.TIER_UNAVAILABLE, message);
  }
  return found;
}
