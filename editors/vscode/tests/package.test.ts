/** package.json says the same as the code: languages, commands, client-only settings. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { LANGUAGES, toggled } from "../src/languages";
import { CLIENT_KEYS, forServer } from "../src/serverSettings";

interface Manifest {
  activationEvents: string[];
  contributes: {
    commands: { command: string }[];
    configuration: { properties: Record<string, unknown> };
  };
}

const manifest = JSON.parse(readFileSync("package.json", "utf8")) as Manifest;

test("the extension starts for the languages it serves", () => {
  assert.deepEqual(
    manifest.activationEvents,
    LANGUAGES.map((language) => `onLanguage:${language}`),
  );
});

test("every command is both announced and registered", () => {
  const source = readFileSync("src/commands.ts", "utf8");
  const registered = [...source.matchAll(/^ {4}"(seedls\.\w+)":/gm)].map((match) => match[1]);
  assert.ok(registered.length >= 8);
  assert.deepEqual(registered.sort(), manifest.contributes.commands.map((one) => one.command).sort());
});

test("the server never sees the settings of the client", () => {
  const section = { model: "m", server: { path: "/x" }, trace: { server: "off" }, completion: { mode: "eager" } };
  assert.deepEqual(forServer(section), { model: "m", completion: { mode: "eager" } });
  for (const other of [null, undefined, "x", 3, ["server"]]) {
    assert.deepEqual(forServer(other), other);
  }
  const keys = Object.keys(manifest.contributes.configuration.properties);
  for (const key of CLIENT_KEYS) {
    assert.ok(
      keys.some((one) => one.startsWith(`seedls.${key}.`)),
      key,
    );
  }
});

test("a language is switched off, and on again", () => {
  assert.deepEqual(toggled([], "python"), ["python"]);
  assert.deepEqual(toggled(["c", "python"], "python"), ["c"]);
});
