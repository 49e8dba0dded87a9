/** What a server's edit is about. Pure: LSP values in, plain values out. */

import type { TextEdit, WorkspaceEdit } from "vscode-languageclient/node";

export interface SingleFileEdit {
  uri: string;
  /** null: the server did not say. */
  version: number | null;
  edits: readonly TextEdit[];
}

/** The text edits, if they are all for one file and nothing else is asked for. */
export function singleFileEdit(edit: WorkspaceEdit): SingleFileEdit | undefined {
  const found: SingleFileEdit[] = [];
  for (const change of edit.documentChanges ?? []) {
    if (!("textDocument" in change)) {
      return undefined; // creates, renames or deletes a file
    }
    const edits = change.edits.filter((one): one is TextEdit => "newText" in one);
    if (edits.length !== change.edits.length) {
      return undefined; // snippets
    }
    found.push({ uri: change.textDocument.uri, version: change.textDocument.version, edits });
  }
  if (!edit.documentChanges) {
    for (const [uri, edits] of Object.entries(edit.changes ?? {})) {
      found.push({ uri, version: null, edits });
    }
  }
  return found.length === 1 ? found[0] : undefined;
}
