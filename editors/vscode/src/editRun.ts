/**
 * A rewrite in the user's own words that forms under the user's eyes: the client asks for step after step and shows what
 * there is in the preview. Closing the preview, by Apply or Discard, stops the model.
 */

import * as vscode from "vscode";
import type { Range, WorkspaceEdit } from "vscode-languageclient/node";

import type { SeedlsClient } from "./client";
import type { EditPreview } from "./editPreview";
import { EDIT_RUN_CANCEL, EDIT_RUN_START, EDIT_RUN_STEP } from "./protocol";
import type { EditRunState } from "./protocol";

/** How long the model works between two pictures. */
const STEP_MS = 250;
const TITLE = "Refactor";

export interface Wish {
  uri: string;
  /** An empty one means the function around it. */
  range: Range;
  instruction: string;
}

/** Run to the end or until the preview is closed; says why when there is nothing to show. */
export async function watchEditRun(client: SeedlsClient, preview: EditPreview, wish: Wish): Promise<void> {
  const connection = client.running;
  let now = await connection.sendRequest<EditRunState>(EDIT_RUN_START, wish);
  const shown = { isClosed: false, isOpen: false };
  try {
    while (now.state === "running" && !shown.isClosed) {
      const asked = { run: now.run, milliseconds: STEP_MS };
      now = await client.whileRunning(() => connection.sendRequest<EditRunState>(EDIT_RUN_STEP, asked));
      show(preview, wish.uri, now, shown);
    }
  } finally {
    // Also after the end: what is taken is applied here, change by change, and the server may forget the run.
    await connection.sendRequest(EDIT_RUN_CANCEL, { run: now.run }).catch(() => undefined);
  }
  if (!shown.isOpen) {
    void vscode.window.showInformationMessage(`seedls: ${now.reason || "the model found nothing to change"}`);
  } else if (now.state === "stopped") {
    void vscode.window.showWarningMessage(`seedls: ${now.reason}; what is shown can be taken`);
  }
}

function show(
  preview: EditPreview,
  uri: string,
  now: EditRunState,
  shown: { isClosed: boolean; isOpen: boolean },
): void {
  const edit: WorkspaceEdit = { documentChanges: [{ textDocument: { uri, version: now.version }, edits: now.edits }] };
  if (shown.isOpen) {
    const note = now.state === "running" ? `The model works, ${Math.round(now.fraction * 100)} % are final. ` : "";
    preview.update(edit, note);
  } else if (now.edits.length > 0 && preview.canShow(edit)) {
    shown.isOpen = true;
    const close = () => {
      shown.isClosed = true;
    };
    preview.show(edit, TITLE).then(close, close);
  }
}
