"""How a program of each language is run: file name, command, prelude, and whether its tools are on this machine.

A passing program must end with status 0 *and* print a nonce after its tests, so that a solution which exits early
does not pass. Go programs have their own `main` and are judged by status alone.
"""

from __future__ import annotations

import functools
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

from model_runtime.evaluation.locations import locations_from_environment
from model_runtime.evaluation.sandbox import Execution, Limits, run_program


@dataclass(frozen=True, slots=True)
class Plan:
    """One program made ready to run."""

    files: dict[str, str]
    command: list[str]
    environment: dict[str, str]
    limits: Limits
    nonce: str = ""
    """Must be in the output of a passing program."""


def run_tests(language: str, program: str, limits: Limits | None = None) -> Execution:
    """Run a program with its tests; `passed` only when it ran to its end."""
    plan = _PLANS[language](program, limits or Limits())
    execution = run_program(plan.files, plan.command, plan.limits, plan.environment)
    if execution.outcome == "passed" and plan.nonce not in execution.output:
        return replace(execution, outcome="failed", output=f"{execution.output}\n[ended before its tests]")
    return execution


@functools.cache
def missing_tools(language: str) -> str:
    """Why programs of this language cannot run here; "" when they can (tried with a program that must pass)."""
    if language not in _PLANS:
        return f"no runner for {language!r}"
    missing = _MISSING[language]()
    if missing:
        return missing
    execution = run_tests(language, _SMOKE[language])
    if execution.outcome != "passed":
        return f"a trivial program fails: {execution.outcome} {execution.output.strip()[-200:]}"
    return ""


def _plan_python(program: str, limits: Limits) -> Plan:
    nonce = secrets.token_hex(8)
    # -X utf8: some benchmark solutions print non-ASCII; -I: nothing of the user's environment is imported.
    source = f"{program}\n\nprint({nonce!r})\n"
    return Plan({"main.py": source}, [sys.executable, "-I", "-X", "utf8", "main.py"], {}, limits, nonce)


# console.assert only prints in Node; in a test it must fail.
_JAVASCRIPT_PRELUDE = (
    "console.assert = (ok, ...message) => { if (!ok) throw new Error('assertion failed ' + message.join(' ')); };\n"
)


# The translated MBPP tests use nothing of lodash but isEqual; this stands in where lodash is not installed.
_LODASH_STAND_IN = """
function isEqual(a, b) {
  if (a === b || (a !== a && b !== b)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Object.prototype.toString.call(a) !== Object.prototype.toString.call(b)) return false;
  if (a instanceof Date) return a.getTime() === b.getTime();
  if (a instanceof RegExp) return String(a) === String(b);
  if (a instanceof Map || a instanceof Set) {
    const rest = [...b];
    return a.size === b.size && [...a].every((item) => {
      const at = rest.findIndex((other) => isEqual(item, other));
      return at >= 0 && rest.splice(at, 1).length === 1;
    });
  }
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length &&
    keys.every((key) => Object.prototype.hasOwnProperty.call(b, key) && isEqual(a[key], b[key]));
}
module.exports = { isEqual };
"""


def _plan_javascript(program: str, limits: Limits) -> Plan:
    nonce = secrets.token_hex(8)
    source = f"{_JAVASCRIPT_PRELUDE}{program}\n;console.log({nonce!r});\n"
    files = {"main.js": source, "lodash.js": _LODASH_STAND_IN}
    return Plan(files, _node_command("main.js", limits), _node_environment(), limits, nonce)


def _plan_typescript(program: str, limits: Limits) -> Plan:
    """Types are removed by esbuild, not checked: the tests decide."""
    nonce = secrets.token_hex(8)
    source = f"{_JAVASCRIPT_PRELUDE}{program}\n;console.log({nonce!r});\n"
    run = (
        "const { spawnSync } = require('child_process');"
        "const out = spawnSync(process.argv[1], ['main.ts', '--format=cjs', '--platform=node', '--outfile=main.js',"
        " '--log-level=error'], { stdio: 'inherit' });"
        "if (out.status !== 0) process.exit(out.status ?? 1); require(process.cwd() + '/main.js');"
    )
    esbuild = _find_esbuild() or "esbuild"
    command = [*_node_command("-e", limits), run, esbuild]
    return Plan({"main.ts": source}, command, _node_environment(), limits, nonce)


def _plan_go(program: str, limits: Limits) -> Plan:
    go = _find_tool("go") or "go"
    environment = {"GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOMAXPROCS": "2"}
    environment |= _go_cache()
    # Compiling takes most of the time, and unused imports are compile errors a completion cannot know about.
    limits = replace(
        limits,
        cpu_seconds=limits.cpu_seconds * 6,
        wall_seconds=limits.wall_seconds * 6,
        file_bytes=max(limits.file_bytes, 256 << 20),
        processes=max(limits.processes, 256),
    )
    files = {"main.go": without_unused_imports(program), "go.mod": "module main\n\ngo 1.20\n"}
    return Plan(files, [go, "run", "main.go"], environment, limits)


def _go_cache() -> dict[str, str]:
    """A ready cache in the tools folder saves compiling the standard library for every program (20 s each)."""
    tools = locations_from_environment().tools
    ready = tools / "go-cache" if tools else None
    return {"GOCACHE": str(ready.resolve())} if ready and ready.is_dir() else {}


def without_unused_imports(program: str) -> str:
    """Drop Go imports of a parenthesised list that the program never uses by their last path element."""
    match = re.search(r"^import \(\n(.*?)^\)\n", program, re.MULTILINE | re.DOTALL)
    if not match:
        return program
    rest = program[match.end() :]
    kept = [
        line
        for line in match.group(1).splitlines(keepends=True)
        if not (name := line.strip().strip('"').rpartition("/")[2]) or f"{name}." in rest
    ]
    body = "".join(kept)
    return program[: match.start()] + (f"import (\n{body})\n" if body.strip() else "") + rest


def _node_command(argument: str, limits: Limits) -> list[str]:
    megabytes = max(64, limits.memory_bytes // 2 // (1 << 20))
    return [_find_tool("node") or "node", f"--max-old-space-size={megabytes}", argument]


def _node_environment() -> dict[str, str]:
    tools = locations_from_environment().tools
    modules = [str(tools / "node_modules")] if tools else []
    # "." last: the stand-ins of the program's own folder.
    return {"NODE_PATH": os.pathsep.join([*modules, "/usr/share/nodejs", "."])}


def _find_tool(name: str) -> str | None:
    tools = locations_from_environment().tools
    for folder in (tools / "bin", tools / "go" / "bin") if tools else ():
        if (folder / name).is_file():
            return str((folder / name).resolve())
    return shutil.which(name)


def _find_esbuild() -> str | None:
    tools = locations_from_environment().tools
    if tools:
        for path in sorted(tools.glob("node_modules/@esbuild/*/bin/esbuild")):
            return str(path.resolve())
    return _find_tool("esbuild")


def _missing_typescript() -> str:
    if not _find_tool("node"):
        return "node is not installed"
    return "" if _find_esbuild() else "esbuild is not installed (npm install esbuild in $SEEDLS_EVAL_TOOLS)"


_PLANS: dict[str, Callable[[str, Limits], Plan]] = {
    "python": _plan_python,
    "javascript": _plan_javascript,
    "typescript": _plan_typescript,
    "go": _plan_go,
}
_MISSING: dict[str, Callable[[], str]] = {
    "python": lambda: "",
    "javascript": lambda: "" if _find_tool("node") else "node is not installed",
    "typescript": _missing_typescript,
    "go": lambda: "" if _find_tool("go") else "go is not installed",
}
_SMOKE: dict[str, str] = {
    "python": "assert 1 + 1 == 2",
    "javascript": "const _ = require('lodash'); console.assert(_.isEqual([1, { a: 0 }], [1, { a: -0 }]));",
    "typescript": "import * as assert from 'assert'\nconst one: number = 1; assert.deepEqual([one], [1]);",
    "go": 'package main\n\nimport (\n\t"encoding/json"\n\t"reflect"\n)\n\nfunc main() {\n'
    '\tif _, err := json.Marshal(1); err != nil || !reflect.DeepEqual(1, 1) {\n\t\tpanic("no")\n\t}\n}\n',
}
