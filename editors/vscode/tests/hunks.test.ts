/** Which text ticked changes give, and where changes are after typing. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { proposed, rebased, startInProposed, summary } from "../src/hunks";
import type { Hunk } from "../src/hunks";

const TEXT = "a = 👋\r\nb = 2\r\n";
const HUNKS: readonly Hunk[] = [
  { start: 0, end: 1, newText: "first", isTicked: true },
  { start: 8, end: 9, newText: "", isTicked: true },
  { start: 15, end: 15, newText: "c\r\n", isTicked: true },
];

function ticked(...which: boolean[]): Hunk[] {
  return HUNKS.map((hunk, index) => ({ ...hunk, isTicked: which[index] ?? true }));
}

test("only ticked changes are in the proposal", () => {
  assert.equal(proposed(TEXT, HUNKS), "first = 👋\r\n = 2\r\nc\r\n");
  assert.equal(proposed(TEXT, ticked(false, true, false)), "a = 👋\r\n = 2\r\n");
  assert.equal(proposed(TEXT, ticked(false, false, false)), TEXT);
  assert.equal(proposed("", []), "");
});

test("a change starts in the proposal behind what the ticked ones before it add", () => {
  const text = proposed(TEXT, HUNKS);
  assert.equal(text.slice(startInProposed(HUNKS, 2)), "c\r\n");
  assert.equal(startInProposed(ticked(false, true, true), 1), 8);
  assert.equal(startInProposed([], 0), 0);
});

test("typing before a change moves it, in it drops it, behind it leaves it", () => {
  const starts = (hunks: Hunk[]) => hunks.map(({ start }) => start);
  assert.deepEqual(starts(rebased(HUNKS, { start: 4, end: 4, text: "xy" })), [0, 10, 17]);
  assert.deepEqual(starts(rebased(HUNKS, { start: 8, end: 9, text: "z" })), [0, 15]);
  assert.deepEqual(starts(rebased(HUNKS, { start: 1, end: 1, text: "z" })), [9, 16]);
  assert.deepEqual(starts(rebased(HUNKS, { start: 0, end: 15, text: "" })), []);
});

test("moved changes give the same as applying first and typing then", () => {
  let seed = 7;
  const random = (limit: number) => (seed = (seed * 48271) % 2147483647) % limit;
  for (let round = 0; round < 300; round++) {
    const start = random(TEXT.length + 1);
    const end = Math.min(TEXT.length, start + random(3));
    const text = ["", "x", "👋\r\n"][random(3)] ?? "";
    const typed = TEXT.slice(0, start) + text + TEXT.slice(end);
    for (const hunk of rebased(HUNKS, { start, end, text })) {
      const original = HUNKS.find(({ newText }) => newText === hunk.newText);
      assert.equal(typed.slice(hunk.start, hunk.end), TEXT.slice(original?.start, original?.end));
    }
  }
});

test("a label is one line", () => {
  assert.equal(summary("x", "\n  total = 1\n"), "total = 1");
  assert.equal(summary("  old()\n", ""), "remove old()");
  assert.equal(summary("\n", " \n"), "remove blank lines");
  assert.equal(summary("", "x".repeat(100)).length, 60);
});
