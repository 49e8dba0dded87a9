/** Wiring only: what is created when the extension starts, and what is closed when it ends. */

import * as vscode from "vscode";

import { SeedlsClient } from "./client";
import { registerCommands } from "./commands";
import { changesServer } from "./config";
import { EditPreview } from "./editPreview";
import { privateEnvironment } from "./serverSetup";
import { createStatusItem } from "./status";

let client: SeedlsClient | undefined;

export function activate(context: vscode.ExtensionContext): void {
  const log = vscode.window.createOutputChannel("seedls", { log: true });
  const preview = new EditPreview();
  const started = new SeedlsClient(log, preview, privateEnvironment(context));
  client = started;
  context.subscriptions.push(
    log,
    preview,
    createStatusItem(started),
    registerCommands(started, preview, context),
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
  const install = "Install the server";
  const open = "Set the path";
  const chosen = await vscode.window.showWarningMessage(message, install, open);
  if (chosen === install) {
    await vscode.commands.executeCommand("seedls.installServer");
  } else if (chosen === open) {
    await vscode.commands.executeCommand("workbench.action.openSettings", "seedls.server.path");
  }
}
