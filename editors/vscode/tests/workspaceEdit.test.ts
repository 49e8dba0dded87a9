/** Which edits can be previewed: text edits of one file. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { singleFileEdit } from "../src/workspaceEdit";

const RANGE = { start: { line: 0, character: 0 }, end: { line: 0, character: 1 } };
const EDITS = [{ range: RANGE, newText: "x" }];
const versioned = (uri: string) => ({ textDocument: { uri, version: 3 }, edits: EDITS });

test("one file, with or without a version", () => {
  assert.deepEqual(singleFileEdit({ documentChanges: [versioned("file:///a")] }), {
    uri: "file:///a",
    version: 3,
    edits: EDITS,
  });
  assert.deepEqual(singleFileEdit({ changes: { "file:///a": EDITS } }), {
    uri: "file:///a",
    version: null,
    edits: EDITS,
  });
});

test("anything else is left to the editor", () => {
  assert.equal(singleFileEdit({}), undefined);
  assert.equal(singleFileEdit({ documentChanges: [versioned("file:///a"), versioned("file:///b")] }), undefined);
  assert.equal(singleFileEdit({ changes: { "file:///a": EDITS, "file:///b": EDITS } }), undefined);
  const created = { kind: "create" as const, uri: "file:///b" };
  assert.equal(singleFileEdit({ documentChanges: [created, versioned("file:///b")] }), undefined);
  const snippet = { range: RANGE, snippet: { kind: "snippet" as const, value: "$0" } };
  const withSnippet = { textDocument: { uri: "file:///a", version: 1 }, edits: [snippet] };
  assert.equal(singleFileEdit({ documentChanges: [withSnippet] }), undefined);
});
