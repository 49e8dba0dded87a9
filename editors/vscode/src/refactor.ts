/**
 * "Refactor Selection": asks what to do in a box that offers the server's own rewrites and what was typed before, and
 * lets the server do it. What comes back is previewed (editPreview.ts).
 */

import * as vscode from "vscode";
import { CodeActionRequest, CodeActionTriggerKind, ExecuteCommandRequest } from "vscode-languageclient/node";
import type { CodeAction, Range } from "vscode-languageclient/node";

import type { SeedlsClient } from "./client";
import { confirmsEdits } from "./config";
import type { EditPreview } from "./editPreview";
import { watchEditRun } from "./editRun";
import { remembered } from "./history";
import { COMMAND_APPLY_ACTION, COMMAND_REFACTOR } from "./protocol";
import type { RefactorRequest } from "./protocol";

const HISTORY_KEY = "seedls.refactor.history";

interface Choice extends vscode.QuickPickItem {
  /** A rewrite the server offered. */
  action?: CodeAction;
  /** Words of the user. */
  instruction?: string;
}

export async function refactorSelection(
  client: SeedlsClient,
  preview: EditPreview,
  memory: vscode.Memento,
): Promise<void> {
  const editor = vscode.window.activeTextEditor;
  if (!editor) {
    throw new Error("open a file and select the code to refactor");
  }
  const range = client.running.code2ProtocolConverter.asRange(editor.selection);
  const uri = client.running.code2ProtocolConverter.asUri(editor.document.uri);
  const history = memory.get<string[]>(HISTORY_KEY, []);
  const chosen = await ask(await offered(client, uri, range), history);
  if (!chosen) {
    return;
  }
  if (chosen.action?.data !== undefined) {
    await execute(client, COMMAND_APPLY_ACTION, chosen.action.data);
  } else if (chosen.instruction) {
    await memory.update(HISTORY_KEY, remembered(history, chosen.instruction));
    const wish = { uri, range, instruction: chosen.instruction } satisfies RefactorRequest;
    await (confirmsEdits() ? watchEditRun(client, preview, wish) : execute(client, COMMAND_REFACTOR, wish));
  }
}

/** The rewrites that the server has for this place; those it has disabled are left out. */
async function offered(client: SeedlsClient, uri: string, range: Range): Promise<CodeAction[]> {
  const answer = await client.running.sendRequest(CodeActionRequest.type, {
    textDocument: { uri },
    range,
    context: { diagnostics: [], only: ["refactor.rewrite"], triggerKind: CodeActionTriggerKind.Invoked },
  });
  return (answer ?? []).filter((one): one is CodeAction => "data" in one && !("disabled" in one && one.disabled));
}

/** The server applies the edit, or tells the user why there is none. */
function execute(client: SeedlsClient, command: string, argument: unknown): Promise<unknown> {
  return client.untilApplied(() =>
    client.running.sendRequest(ExecuteCommandRequest.type, { command, arguments: [argument] }),
  );
}

/** A pick box whose first entry is what is being typed. */
function ask(actions: readonly CodeAction[], history: readonly string[]): Promise<Choice | undefined> {
  const box = vscode.window.createQuickPick<Choice>();
  const fixed: Choice[] = [
    ...history.map((instruction) => ({ label: `$(history) ${instruction}`, instruction })),
    ...actions.map((action) => ({ label: `$(wand) ${action.title}`, action })),
  ];
  box.title = "seedls: refactor the selection";
  box.placeholder = "Say what to do, or choose";
  box.items = fixed;
  box.onDidChangeValue((value) => {
    const instruction = value.trim();
    box.items = instruction ? [{ label: `$(edit) ${instruction}`, instruction, alwaysShow: true }, ...fixed] : fixed;
  });
  return new Promise((resolve) => {
    box.onDidAccept(() => {
      resolve(box.selectedItems[0]);
      box.hide();
    });
    box.onDidHide(() => {
      resolve(undefined);
      box.dispose();
    });
    box.show();
  });
}
