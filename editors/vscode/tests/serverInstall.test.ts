/** Which programs make the private environment, and what is installed there. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

import { PYTHON_CHECK, PYTHON_NAMES, installSteps, packageToInstall, programIn } from "../src/serverInstall";

const WANTED = {
  python: "python3.12",
  folder: "/home/mé 👋/server",
  packageName: "/ext/server/seedls.whl",
  pipArguments: ["--index-url", "https://example.test/cpu"],
  model: "coder-0.5b",
  platform: "linux" as NodeJS.Platform,
};

test("environment, server, model, in this order; paths with blanks stay one argument", () => {
  const steps = installSteps(WANTED);
  assert.deepEqual(
    steps.map(({ program }) => program),
    ["python3.12", "/home/mé 👋/server/bin/python", "/home/mé 👋/server/bin/seedls"],
  );
  assert.deepEqual(steps[0]?.arguments, ["-m", "venv", "/home/mé 👋/server"]);
  assert.deepEqual(steps[1]?.arguments.slice(-3), [
    "--index-url",
    "https://example.test/cpu",
    "/ext/server/seedls.whl",
  ]);
  assert.ok(steps[1].arguments.includes("--no-input"));
  assert.deepEqual(steps[2]?.arguments, ["model", "install", "coder-0.5b"]);
});

test("Windows has its own folder and suffix", () => {
  assert.equal(programIn("C:\\s", "seedls", "win32"), "C:\\s\\Scripts\\seedls.exe");
});

test("the setting wins, then the newest bundled wheel; without both the setting is named", () => {
  assert.equal(packageToInstall(" /clone ", ["/ext/a.whl"]), "/clone");
  assert.equal(packageToInstall("", ["/ext/seedls-0.1.0.whl", "/ext/seedls-0.2.0.whl"]), "/ext/seedls-0.2.0.whl");
  assert.throws(() => packageToInstall("", []), /seedls\.server\.package/);
});

test("the check of a Python runs, and an older one does not pass", () => {
  const python = PYTHON_NAMES.find((name) => {
    try {
      execFileSync(name, ["--version"], { stdio: "ignore" });
      return true;
    } catch {
      return false;
    }
  });
  assert.ok(python, "no Python at all on the PATH");
  const [flag = "", code = ""] = PYTHON_CHECK;
  const tooOld = code.replace("(3, 11)", "(99, 0)");
  assert.notEqual(tooOld, code);
  assert.throws(() => execFileSync(python, [flag, tooOld], { stdio: "ignore" }));
});
