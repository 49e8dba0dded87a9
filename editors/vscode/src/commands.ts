/** What the user can ask for by name. Owns the commands; the server does the work. */

import { execFile } from "node:child_process";
import { promisify } from "node:util";

import * as vscode from "vscode";
import { ExecuteCommandRequest } from "vscode-languageclient/node";

import { COMPLETE_BLOCK, REPAIR_FILE, runRewrite } from "./actions";
import type { SeedlsClient } from "./client";
import { toggleLanguage } from "./config";
import type { EditPreview } from "./editPreview";
import { fixProblem, followLastEdit } from "./problems";
import { COMMAND_EXPLAIN_LAST } from "./protocol";
import { refactorSelection } from "./refactor";
import { installServer } from "./serverSetup";
import { showMenu } from "./status";

const DOCTOR_TIMEOUT_MS = 300_000;
const MAX_REPORT_BYTES = 2 ** 20;

/** Register every command; each failure is shown in one line. */
export function registerCommands(
  client: SeedlsClient,
  preview: EditPreview,
  context: vscode.ExtensionContext,
): vscode.Disposable {
  const table: Record<string, () => Promise<void> | Thenable<void>> = {
    "seedls.refactorSelection": () => refactorSelection(client, preview, context.globalState),
    "seedls.fixProblem": () => fixProblem(client, preview),
    "seedls.completeBlock": () => runRewrite(client, preview, COMPLETE_BLOCK),
    "seedls.repairFile": () => runRewrite(client, preview, REPAIR_FILE),
    "seedls.followLastEdit": () => followLastEdit(client, preview),
    "seedls.applyPreview": () => preview.apply(),
    "seedls.discardPreview": () => preview.discard(),
    "seedls.installServer": () => installServer(context, client),
    "seedls.completeHere": () => vscode.commands.executeCommand("editor.action.inlineSuggest.trigger"),
    "seedls.explainSuggestion": () => runOnServer(client, COMMAND_EXPLAIN_LAST),
    "seedls.toggleLanguage": toggleActiveLanguage,
    "seedls.restartServer": () => client.restart(),
    "seedls.showLog": () => {
      client.log.show();
      return Promise.resolve();
    },
    "seedls.doctor": () => doctor(client),
    "seedls.showMenu": () => showMenu(client),
  };
  return vscode.Disposable.from(
    ...Object.entries(table).map(([name, run]) =>
      vscode.commands.registerCommand(name, async () => {
        try {
          await run();
        } catch (error) {
          const reason = error instanceof Error ? error.message : String(error);
          client.log.error(`${name}: ${reason}`);
          void vscode.window.showErrorMessage(`seedls: ${reason}`);
        }
      }),
    ),
  );
}

/** The server tells its answer to the user itself. */
async function runOnServer(client: SeedlsClient, command: string): Promise<void> {
  await client.running.sendRequest(ExecuteCommandRequest.type, { command });
}

async function toggleActiveLanguage(): Promise<void> {
  const language = vscode.window.activeTextEditor?.document.languageId;
  if (!language) {
    throw new Error("open a file first: completions are turned on or off for its language");
  }
  const isOn = await toggleLanguage(language);
  vscode.window.setStatusBarMessage(`seedls: completions are ${isOn ? "on" : "off"} for ${language}`, 4000);
}

/** Run `seedls doctor` and show its report as a document. Takes seconds: it loads the model and measures. */
async function doctor(client: SeedlsClient): Promise<void> {
  const found = client.locate();
  if (!found.isFound) {
    throw new Error(found.message);
  }
  const options = { location: vscode.ProgressLocation.Notification, title: "seedls doctor", cancellable: true };
  const report = await vscode.window.withProgress(options, async (_, token) => {
    const stop = new AbortController();
    token.onCancellationRequested(() => {
      stop.abort();
    });
    return doctorReport(found.program, stop.signal);
  });
  if (report) {
    const document = await vscode.workspace.openTextDocument({ content: report, language: "plaintext" });
    await vscode.window.showTextDocument(document, { preview: true });
  }
}

/** Its output; it ends with 1, and a report all the same, when the model does not run. Empty when stopped. */
async function doctorReport(program: string, signal: AbortSignal): Promise<string> {
  try {
    const done = await promisify(execFile)(program, ["doctor"], {
      signal,
      timeout: DOCTOR_TIMEOUT_MS,
      maxBuffer: MAX_REPORT_BYTES,
    });
    return done.stdout;
  } catch (error) {
    if (signal.aborted) {
      return "";
    }
    const output = (error as { stdout?: string }).stdout;
    if (output) {
      return output;
    }
    throw error;
  }
}
