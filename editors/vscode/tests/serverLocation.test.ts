/** Where the server is looked for, in which order, and what is said when it is nowhere. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { findServer } from "../src/serverLocation";
import type { ServerLocation, Surroundings } from "../src/serverLocation";

function around(programs: string[], change: Partial<Surroundings> = {}): Surroundings {
  return {
    configuredPath: "",
    searchPath: "/usr/bin:relative/bin::/home/me/bin",
    trustedFolders: ["/src/first", "/src/sécond 👋"],
    privateFolder: "/home/me/.store/server",
    homeFolder: "/home/me",
    platform: "linux",
    isProgram: (file) => programs.includes(file),
    ...change,
  };
}

function messageOf(found: ServerLocation): string {
  return found.isFound ? "" : found.message;
}

test("the configured path wins, then the PATH in its order, then the private environment, then the workspace", () => {
  const installed = "/home/me/.store/server/bin/seedls";
  const places = ["/opt/s", "/usr/bin/seedls", "/home/me/bin/seedls", installed, "/src/sécond 👋/.venv/bin/seedls"];
  const configuredPath = "/opt/s";
  assert.deepEqual(findServer(around(places, { configuredPath })), {
    isFound: true,
    program: "/opt/s",
    source: "setting",
  });
  const sources = places.slice(1).map((_, index) => findServer(around(places.slice(index + 1))));
  assert.deepEqual(sources, [
    { isFound: true, program: "/usr/bin/seedls", source: "PATH" },
    { isFound: true, program: "/home/me/bin/seedls", source: "PATH" },
    { isFound: true, program: installed, source: "private" },
    { isFound: true, program: "/src/sécond 👋/.venv/bin/seedls", source: "workspace" },
  ]);
});

test("a configured path that is wrong is named, and nothing else is started in its place", () => {
  const found = findServer(around(["/usr/bin/seedls"], { configuredPath: " /no/such " }));
  assert.match(messageOf(found), /"\/no\/such", where there is no program/);
  const relative = findServer(around(["bin/seedls"], { configuredPath: "bin/seedls" }));
  assert.match(messageOf(relative), /"bin\/seedls", which is not an absolute path/);
});

test("a path may start at home", () => {
  const found = findServer(around(["/home/me/v/seedls"], { configuredPath: "~/v/seedls" }));
  assert.equal(found.isFound && found.program, "/home/me/v/seedls");
});

test("an untrusted workspace and relative parts of the PATH are never looked into", () => {
  const found = findServer(around(["/src/first/.venv/bin/seedls", "relative/bin/seedls"], { trustedFolders: [] }));
  assert.match(messageOf(found), /not found.*Install the server.*seedls\.server\.path/);
});

test("Windows has its own separator, folder and suffix", () => {
  const windows: Partial<Surroundings> = {
    platform: "win32",
    searchPath: "C:\\a;C:\\b",
    trustedFolders: ["C:\\src"],
  };
  const onPath = findServer(around(["C:\\b\\seedls.exe"], windows));
  assert.equal(onPath.isFound && onPath.program, "C:\\b\\seedls.exe");
  const inWorkspace = findServer(around(["C:\\src\\.venv\\Scripts\\seedls.exe"], windows));
  assert.equal(inWorkspace.isFound && inWorkspace.source, "workspace");
});
