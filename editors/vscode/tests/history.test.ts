/** Order, number and tidiness of the instructions typed before. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { MAX_KEPT, remembered } from "../src/history";

test("the newest is first and each is there once", () => {
  assert.deepEqual(remembered(["b", "a"], "c"), ["c", "b", "a"]);
  assert.deepEqual(remembered(["b", "a"], " a\n"), ["a", "b"]);
  assert.deepEqual(remembered([], "rename  👋\tit"), ["rename 👋 it"]);
});

test("blanks are not kept and the given list is not changed", () => {
  const before = ["a"];
  assert.deepEqual(remembered(before, " \t\n"), ["a"]);
  remembered(before, "b");
  assert.deepEqual(before, ["a"]);
});

test("it does not grow without end", () => {
  let history: string[] = [];
  for (let number = 0; number < MAX_KEPT + 5; number++) {
    history = remembered(history, `do ${number}`);
  }
  assert.equal(history.length, MAX_KEPT);
  assert.equal(history[0], `do ${MAX_KEPT + 4}`);
});
