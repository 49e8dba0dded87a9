/** "Fix the Problem at the Cursor" and "Follow the Last Edit": what the server offers for this place, previewed. */

import * as vscode from "vscode";
import type { CodeAction } from "vscode-languageclient/node";

import { offeredActions, resolveAndShow } from "./actions";
import type { SeedlsClient } from "./client";
import { previewOrApply } from "./editPreview";
import type { EditPreview } from "./editPreview";
import { NEXT_EDIT } from "./protocol";
import type { NextEdits } from "./protocol";

function activeEditor(): vscode.TextEditor {
  const editor = vscode.window.activeTextEditor;
  if (!editor) {
    throw new Error("open a file first");
  }
  return editor;
}

/** Ask for fixes of the diagnostics on the selected lines; one is run at once, of several the user chooses. */
export async function fixProblem(client: SeedlsClient, preview: EditPreview): Promise<void> {
  const editor = activeEditor();
  const { document, selection } = editor;
  const lines = new vscode.Range(selection.start.line, 0, selection.end.line, Number.MAX_SAFE_INTEGER);
  const found = vscode.languages.getDiagnostics(document.uri).filter(({ range }) => range.intersection(lines));
  if (found.length === 0) {
    throw new Error("no problem is reported on this line");
  }
  const actions = await offeredActions(client, document, {
    range: document.validateRange(lines),
    only: "quickfix",
    diagnostics: found,
  });
  const usable = actions.filter(({ disabled }) => !disabled);
  const chosen = usable.length > 1 ? await choose(usable) : usable[0];
  if (chosen) {
    await resolveAndShow(client, preview, chosen);
  } else if (usable.length === 0) {
    throw new Error(actions[0]?.disabled?.reason ?? "the server offers no fix here");
  }
}

async function choose(actions: readonly CodeAction[]): Promise<CodeAction | undefined> {
  const rows = actions.map((action) => ({ label: action.title, action }));
  return (await vscode.window.showQuickPick(rows, { placeHolder: "Which problem to fix" }))?.action;
}

/** Preview what should follow from the last edit: the rest of a rename, an argument missing elsewhere. */
export async function followLastEdit(client: SeedlsClient, preview: EditPreview): Promise<void> {
  const { document, selection } = activeEditor();
  const converter = client.running.code2ProtocolConverter;
  const found = await client.running.sendRequest<NextEdits | null>(NEXT_EDIT, {
    textDocument: { uri: converter.asUri(document.uri), version: document.version },
    position: converter.asPosition(selection.active),
  });
  if (!found || found.edits.length === 0) {
    void vscode.window.showInformationMessage("seedls: nothing follows from the last edit");
    return;
  }
  const edits = found.edits.map(({ range, text }) => ({ range, newText: text }));
  const edit = { documentChanges: [{ textDocument: { uri: found.uri, version: found.version }, edits }] };
  await previewOrApply(preview, client.running, edit, "Follow the last edit");
}
