/**
 * Code actions that a command asks for itself: the server's offer for a place, run and previewed. Also the two rewrites
 * that have a command of their own, "Complete This Block" and "Repair This File".
 */

import * as vscode from "vscode";
import { CodeActionRequest, CodeActionResolveRequest, CodeActionTriggerKind } from "vscode-languageclient/node";
import type { CodeAction } from "vscode-languageclient/node";

import type { SeedlsClient } from "./client";
import { previewOrApply } from "./editPreview";
import type { EditPreview } from "./editPreview";
import type { ActionData } from "./protocol";

export interface Place {
  range: vscode.Range;
  /** The kind of actions asked for, with all below it. */
  only: string;
  diagnostics: vscode.Diagnostic[];
}

/** A rewrite with a command of its own. */
export interface Rewrite {
  /** The server's id of it: `ActionData.instruction`. */
  instruction: string;
  kind: string;
  /** What the user is told where the server does not offer it. */
  nothing: string;
}

export const COMPLETE_BLOCK: Rewrite = {
  instruction: "complete",
  kind: "refactor.rewrite",
  nothing: "no function without a body is selected, or around the cursor",
};
export const REPAIR_FILE: Rewrite = {
  instruction: "repair",
  kind: "quickfix",
  nothing: "nothing to repair: this file has no syntax error, or is too long",
};

/** What the server offers there; the disabled ones too, for their reason. */
export async function offeredActions(
  client: SeedlsClient,
  document: vscode.TextDocument,
  place: Place,
): Promise<CodeAction[]> {
  const converter = client.running.code2ProtocolConverter;
  const answer = await client.running.sendRequest(CodeActionRequest.type, {
    textDocument: { uri: converter.asUri(document.uri) },
    range: converter.asRange(place.range),
    context: {
      diagnostics: await converter.asDiagnostics(place.diagnostics),
      only: [place.only],
      triggerKind: CodeActionTriggerKind.Invoked,
    },
  });
  return (answer ?? []).filter((one): one is CodeAction => "data" in one);
}

/** Let the model do it, and show what it did. */
export async function resolveAndShow(client: SeedlsClient, preview: EditPreview, action: CodeAction): Promise<void> {
  const resolved = await client.whileRunning(() => client.running.sendRequest(CodeActionResolveRequest.type, action));
  if (resolved.edit) {
    await previewOrApply(preview, client.running, resolved.edit, resolved.title);
  } // without an edit the server has said why
}

/** Run one rewrite at the cursor or on the selection. Errors: it is not offered there. */
export async function runRewrite(client: SeedlsClient, preview: EditPreview, wanted: Rewrite): Promise<void> {
  const editor = vscode.window.activeTextEditor;
  if (!editor) {
    throw new Error("open a file first");
  }
  const place = { range: editor.selection, only: wanted.kind, diagnostics: [] };
  const actions = await offeredActions(client, editor.document, place);
  const action = actions.find(({ data }) => (data as ActionData).instruction === wanted.instruction);
  if (!action || action.disabled) {
    throw new Error(action?.disabled?.reason ?? wanted.nothing);
  }
  await resolveAndShow(client, preview, action);
}
