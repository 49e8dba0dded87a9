/** Reads and changes the user's settings. Which settings exist is package.json's, generated from the server's table. */

import * as vscode from "vscode";

import { toggled } from "./languages";

const SECTION = "seedls";

export function serverPath(): string {
  return vscode.workspace.getConfiguration(SECTION).get<string>("server.path", "");
}

/** What pip installs for the private environment; "": the wheel that came with the extension. */
export function serverPackage(): string {
  return vscode.workspace.getConfiguration(SECTION).get<string>("server.package", "");
}

export function serverPipArguments(): readonly string[] {
  return vscode.workspace.getConfiguration(SECTION).get<string[]>("server.pipArguments", []);
}

/** The Python of the private environment; "": the first on the PATH that is new enough. */
export function serverPython(): string {
  return vscode.workspace.getConfiguration(SECTION).get<string>("server.python", "").trim();
}

export function modelName(): string {
  return vscode.workspace.getConfiguration(SECTION).get<string>("model", "coder-0.5b");
}

export function disabledLanguages(): readonly string[] {
  return vscode.workspace.getConfiguration(SECTION).get<string[]>("completion.disabledLanguages", []);
}

/** Whether rewrites open the editor's preview. */
export function confirmsEdits(): boolean {
  return vscode.workspace.getConfiguration(SECTION).get<boolean>("edit.confirm", true);
}

/** Switch completions of a language; the server hears of it through the configuration. Returns whether they are on. */
export async function toggleLanguage(language: string): Promise<boolean> {
  const next = toggled(disabledLanguages(), language);
  await vscode.workspace
    .getConfiguration(SECTION)
    .update("completion.disabledLanguages", next, vscode.ConfigurationTarget.Global);
  return !next.includes(language);
}

/** Whether a change asks for another server process. */
export function changesServer(event: vscode.ConfigurationChangeEvent): boolean {
  return event.affectsConfiguration(`${SECTION}.server.path`);
}
