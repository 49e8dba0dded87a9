/** The status item and its menu. Owns both; what the item says is in statusText.ts. */

import * as vscode from "vscode";

import type { SeedlsClient } from "./client";
import { disabledLanguages } from "./config";
import { statusText } from "./statusText";

const COLOURS = {
  normal: undefined,
  warning: new vscode.ThemeColor("statusBarItem.warningBackground"),
  error: new vscode.ThemeColor("statusBarItem.errorBackground"),
};

interface MenuEntry extends vscode.QuickPickItem {
  command: string;
  commandArguments?: unknown[];
}

/** Show the item and keep it current. */
export function createStatusItem(client: SeedlsClient): vscode.Disposable {
  const item = vscode.window.createStatusBarItem("seedls.status", vscode.StatusBarAlignment.Right, 100);
  item.name = "seedls";
  item.command = "seedls.showMenu";
  const refresh = () => {
    const language = activeLanguage();
    const isLanguageOff = language !== "" && disabledLanguages().includes(language);
    const shown = statusText({ ...client.now, language, isLanguageOff });
    item.text = shown.text;
    item.tooltip = shown.tooltip;
    item.backgroundColor = COLOURS[shown.severity];
    item.accessibilityInformation = { label: `seedls: ${shown.tooltip}`, role: "button" };
  };
  refresh();
  item.show();
  return vscode.Disposable.from(
    item,
    client.onDidChange(refresh),
    vscode.window.onDidChangeActiveTextEditor(refresh),
    vscode.workspace.onDidChangeConfiguration(refresh),
  );
}

/** What a click on the item offers. */
export async function showMenu(client: SeedlsClient): Promise<void> {
  const language = activeLanguage();
  const entries: MenuEntry[] = [];
  if (client.now.state === "missing") {
    entries.push({ label: "$(cloud-download) Install the server", command: "seedls.installServer" });
    entries.push({
      label: "$(gear) Set the path of the server",
      command: "workbench.action.openSettings",
      commandArguments: ["seedls.server.path"],
    });
  }
  if (language) {
    const verb = disabledLanguages().includes(language) ? "on" : "off";
    entries.push({
      label: `$(circle-slash) Turn completions ${verb} for ${language}`,
      command: "seedls.toggleLanguage",
    });
  }
  entries.push(
    { label: "$(wand) Refactor the selection…", command: "seedls.refactorSelection" },
    { label: "$(tools) Fix the problem at the cursor", command: "seedls.fixProblem" },
    { label: "$(symbol-method) Complete this block", command: "seedls.completeBlock" },
    { label: "$(bug) Repair this file", command: "seedls.repairFile" },
    { label: "$(references) Follow the last edit", command: "seedls.followLastEdit" },
    { label: "$(question) Explain the last suggestion", command: "seedls.explainSuggestion" },
    { label: "$(refresh) Restart the server", command: "seedls.restartServer" },
    { label: "$(output) Show the log", command: "seedls.showLog" },
    { label: "$(pulse) Doctor: what this machine can do", command: "seedls.doctor" },
    {
      label: "$(settings-gear) Settings",
      command: "workbench.action.openSettings",
      commandArguments: ["@ext:seedls.seedls"],
    },
  );
  const chosen = await vscode.window.showQuickPick(entries, {
    title: `seedls: ${client.now.message}`,
    placeHolder: "What to do",
  });
  if (chosen) {
    await vscode.commands.executeCommand(chosen.command, ...(chosen.commandArguments ?? []));
  }
}

function activeLanguage(): string {
  return vscode.window.activeTextEditor?.document.languageId ?? "";
}
