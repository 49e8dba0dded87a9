/** Wiring only: what is created when the extension starts, and what is closed when it ends. */

import * as vscode from "vscode";

import { SeedlsClient } from "./client";
import { registerCommands } from "./commands";
import { changesServer } from "./config";
import { createStatusItem } from "./status";

let client: SeedlsClient | undefined;

export function activate(context: vscode.ExtensionContext): void {
  const log = vscode.window.createOutputChannel("seedls", { log: true });
  const started = new SeedlsClient(log);
  client = started;
  context.subscriptions.push(
    log,
    createStatusItem(started),
    registerCommands(started, context.globalState),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (changesServer(event)) {
        void started.restart();
      }
    }),
    vscode.workspace.onDidGrantWorkspaceTrust(() => void started.start()),
  );
  // Not awaited: the editor goes on while the server starts, and the status item tells how far it is.
  void started.start().then(() => {
    if (started.now.state === "missing") {
      void offerPath(started.now.message);
    }
  });
}

export async function deactivate(): Promise<void> {
  await client?.stop();
}

async function offerPath(message: string): Promise<void> {
  const open = "Set the path";
  if ((await vscode.window.showWarningMessage(message, open)) === open) {
    await vscode.commands.executeCommand("workbench.action.openSettings", "seedls.server.path");
  }
}
