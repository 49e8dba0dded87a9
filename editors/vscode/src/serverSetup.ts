/** "Install the Server": makes a private environment on request, with progress and a cancel button. Owns its folder. */

import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import * as path from "node:path";

import * as vscode from "vscode";

import type { SeedlsClient } from "./client";
import { modelName, serverPackage, serverPipArguments, serverPython } from "./config";
import { PYTHON_CHECK, PYTHON_NAMES, installSteps, packageToInstall } from "./serverInstall";
import type { Step } from "./serverInstall";

const MAX_SHOWN = 80;

/** Where the environment is, whether or not it exists. */
export function privateEnvironment(context: vscode.ExtensionContext): string {
  return path.join(context.globalStorageUri.fsPath, "server");
}

/** Make or update the environment, install the model, start the server. Errors: the failed step and its last line. */
export async function installServer(context: vscode.ExtensionContext, client: SeedlsClient): Promise<void> {
  const folder = privateEnvironment(context);
  const wheels = path.join(context.extensionUri.fsPath, "server");
  const bundled = existsSync(wheels) ? readdirSync(wheels).filter((name) => name.endsWith(".whl")) : [];
  const packageName = packageToInstall(
    serverPackage(),
    bundled.map((name) => path.join(wheels, name)),
  );
  const python = await findPython(client.log);
  await client.stop(); // a running server's files cannot be replaced everywhere
  mkdirSync(context.globalStorageUri.fsPath, { recursive: true });
  const wanted = {
    python,
    folder,
    packageName,
    pipArguments: serverPipArguments(),
    model: modelName(),
    platform: process.platform,
  };
  const options = { location: vscode.ProgressLocation.Notification, title: "seedls", cancellable: true };
  const isDone = await vscode.window.withProgress(options, async (progress, token) => {
    for (const step of installSteps(wanted)) {
      progress.report({ message: step.title });
      await run(step, client.log, token, (line) => {
        progress.report({ message: `${step.title}: ${line.slice(0, MAX_SHOWN)}` });
      });
      if (token.isCancellationRequested) {
        return false;
      }
    }
    return true;
  });
  await client.start();
  if (isDone) {
    void vscode.window.showInformationMessage("seedls is installed. Open a source file and type.");
  }
}

/** The configured Python, else the first on the PATH that is new enough. */
async function findPython(log: vscode.LogOutputChannel): Promise<string> {
  const configured = serverPython();
  const names = configured ? [configured] : PYTHON_NAMES;
  for (const program of names) {
    try {
      await run({ title: "python", program, arguments: PYTHON_CHECK }, log);
      return program;
    } catch (error) {
      log.debug(`${program} will not do: ${String(error)}`);
    }
  }
  throw new Error(`no Python 3.11 or newer with venv found (looked for ${names.join(", ")}); set seedls.server.python`);
}

/** Run a program without a shell; its lines go to the log. Rejects when it fails, resolves when it was cancelled. */
function run(
  step: Step,
  log: vscode.LogOutputChannel,
  token?: vscode.CancellationToken,
  onLine: (line: string) => void = () => undefined,
): Promise<void> {
  log.info(`${step.title}: ${step.program} ${step.arguments.join(" ")}`);
  const child = spawn(step.program, step.arguments, { stdio: ["ignore", "pipe", "pipe"], windowsHide: true });
  const stopping = token?.onCancellationRequested(() => child.kill());
  let last = "";
  const take = (data: Buffer) => {
    for (const line of data.toString("utf8").split(/[\r\n]+/)) {
      if (line.trim()) {
        last = line.trim();
        log.info(last);
        onLine(last);
      }
    }
  };
  child.stdout.on("data", take);
  child.stderr.on("data", take);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => {
      stopping?.dispose();
      if (code === 0 || token?.isCancellationRequested) {
        resolve();
      } else {
        reject(new Error(`${step.title} failed: ${last || `exit code ${String(code)}`}`));
      }
    });
  });
}
