/** What the status item says in each situation. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { INITIAL, asState, statusText } from "../src/statusText";
import type { Known } from "../src/statusText";

const READY: Known = { ...INITIAL, state: "ready", message: "coder-0.5b on cpu" };

test("each state is told apart without the tooltip", () => {
  const states: Known["state"][] = ["missing", "off", "starting", "unloaded", "loading", "ready", "failed"];
  const texts = states.map((state) => statusText({ ...READY, state }).text);
  assert.equal(new Set(texts).size, states.length);
  assert.equal(texts[5], "$(sparkle) seedls");
});

test("busy shows only while something runs", () => {
  assert.match(statusText({ ...READY, numRunning: 1 }).text, /spin/);
  assert.match(statusText({ ...READY, numRunning: 1 }).tooltip, /^busy: /);
  assert.match(statusText(READY).tooltip, /^ready: coder-0.5b on cpu\n/);
});

test("silence has its reason", () => {
  const quiet = statusText({ ...READY, outcome: "quiet", reason: "the cursor is in a comment" });
  assert.equal(quiet.text, "$(sparkle) seedls: quiet");
  assert.match(quiet.tooltip, /last completion: quiet, the cursor is in a comment/);
  assert.equal(statusText({ ...READY, outcome: "shown", reason: "" }).text, "$(sparkle) seedls");
});

test("a language that is off is told, and only then", () => {
  const off = statusText({ ...READY, language: "python", isLanguageOff: true });
  assert.match(off.text, /circle-slash/);
  assert.match(off.tooltip, /completions are off for python/);
  assert.doesNotMatch(statusText({ ...READY, language: "python" }).tooltip, /off/);
});

test("what cannot work is an error", () => {
  assert.equal(statusText({ ...READY, state: "missing" }).severity, "error");
  assert.equal(statusText({ ...READY, state: "failed" }).severity, "error");
  assert.equal(statusText({ ...READY, state: "loading" }).severity, "normal");
});

test("an unknown state of the server is a failure", () => {
  assert.equal(asState("ready"), "ready");
  assert.equal(asState("loading"), "loading");
  assert.equal(asState("exploded"), "failed");
});
