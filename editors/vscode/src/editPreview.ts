/**
 * A rewrite shown before it touches the file: the editor's own difference view of the file and of what it would be, and
 * beside it the list of changes, all ticked. Apply applies what is ticked. Owns the one preview that is open.
 */

import * as vscode from "vscode";
import type { LanguageClient, WorkspaceEdit } from "vscode-languageclient/node";

import { confirmsEdits } from "./config";
import { proposed, rebased, startInProposed, summary } from "./hunks";
import type { Hunk } from "./hunks";
import { singleFileEdit } from "./workspaceEdit";
import type { SingleFileEdit } from "./workspaceEdit";

const SCHEME = "seedls-proposal";
const VIEW = "seedls.changes";
const CONTEXT = "seedls.isPreviewing";
const SHOW_COMMAND = "seedls.showPreview";

interface Open {
  title: string;
  document: vscode.TextDocument;
  proposal: vscode.Uri;
  hunks: readonly Hunk[];
  rows: readonly Row[];
  /** What the model still does; "" when it is done. */
  note: string;
  decide: (isApplied: boolean) => void;
}

/** A change in the list: its place in `Open.hunks`. An object, because the editor takes 0 for no row. */
interface Row {
  readonly index: number;
}

export class EditPreview
  implements vscode.TextDocumentContentProvider, vscode.TreeDataProvider<Row>, vscode.Disposable
{
  private open: Open | undefined;
  private numShown = 0;
  private readonly textChanged = new vscode.EventEmitter<vscode.Uri>();
  readonly onDidChange = this.textChanged.event;
  private readonly rowsChanged = new vscode.EventEmitter<undefined>();
  readonly onDidChangeTreeData = this.rowsChanged.event;
  private readonly view: vscode.TreeView<Row>;
  private readonly registered: vscode.Disposable;

  constructor() {
    this.view = vscode.window.createTreeView(VIEW, { treeDataProvider: this, manageCheckboxStateManually: true });
    this.registered = vscode.Disposable.from(
      this.view,
      vscode.workspace.registerTextDocumentContentProvider(SCHEME, this),
      this.view.onDidChangeCheckboxState(({ items }) => {
        for (const [row, state] of items) {
          this.tick(row.index, state === vscode.TreeItemCheckboxState.Checked);
        }
      }),
      this.view.onDidChangeSelection(({ selection: [row] }) => {
        if (row) {
          void this.reveal(row.index);
        }
      }),
      vscode.workspace.onDidChangeTextDocument((event) => {
        this.follow(event);
      }),
      vscode.window.tabGroups.onDidChangeTabs(({ closed }) => {
        if (closed.some((tab) => this.isOurs(tab))) {
          void this.end(false);
        }
      }),
      vscode.commands.registerCommand(SHOW_COMMAND, (edit: WorkspaceEdit, title: string) => this.show(edit, title)),
    );
  }

  /** The command that previews an edit, for a code action to run in place of the edit itself. */
  commandFor(edit: WorkspaceEdit, title: string): vscode.Command {
    return { title, command: SHOW_COMMAND, arguments: [edit, title] };
  }

  /** Whether an edit is of one open file as it is now; others are the editor's own business. */
  canShow(edit: WorkspaceEdit): boolean {
    const single = singleFileEdit(edit);
    const document = single && documentOf(single.uri);
    return document !== undefined && (single?.version ?? document.version) === document.version;
  }

  /** Show an edit; whether something of it was applied in the end. One preview at a time: an older one ends. */
  async show(edit: WorkspaceEdit, title: string): Promise<boolean> {
    await this.end(false);
    const single = singleFileEdit(edit);
    const document = single && documentOf(single.uri);
    if (!single || !document || !this.canShow(edit)) {
      throw new Error("the document changed while the model worked");
    }
    const hunks = hunksOf(document, single);
    const rows = hunks.map((_, index) => ({ index }));
    this.numShown += 1;
    const proposal = document.uri.with({ scheme: SCHEME, query: String(this.numShown) });
    const decided = new Promise<boolean>((resolve) => {
      this.open = { title, document, proposal, hunks, rows, note: "", decide: resolve };
    });
    await vscode.commands.executeCommand("setContext", CONTEXT, true);
    this.refresh();
    await this.reveal(0);
    if (rows[0]) {
      await this.view.reveal(rows[0], { select: false, focus: false });
    }
    return decided;
  }

  /** Show later edits of the same rewrite in the open preview; what was unticked stays so. False: it is closed. */
  update(edit: WorkspaceEdit, note: string): boolean {
    const single = singleFileEdit(edit);
    if (!this.open || !single || documentOf(single.uri) !== this.open.document) {
      return false;
    }
    this.open.note = note;
    if (this.canShow(edit)) {
      const unticked = new Set(this.open.hunks.filter(({ isTicked }) => !isTicked).map(({ start }) => start));
      const hunks = hunksOf(this.open.document, single);
      this.open.hunks = hunks.map((hunk) => ({ ...hunk, isTicked: !unticked.has(hunk.start) }));
      this.open.rows = hunks.map((_, index) => ({ index }));
    } // else typed meanwhile: the next step has the edits for it
    this.refresh();
    return true;
  }

  /** Apply what is ticked and close. */
  async apply(): Promise<void> {
    const open = this.open;
    if (!open) {
      throw new Error("nothing is previewed");
    }
    const edit = new vscode.WorkspaceEdit();
    for (const hunk of open.hunks.filter(({ isTicked }) => isTicked)) {
      const range = new vscode.Range(open.document.positionAt(hunk.start), open.document.positionAt(hunk.end));
      edit.replace(open.document.uri, range, hunk.newText);
    }
    this.open = undefined; // its own edit is nothing to follow
    const isApplied = edit.size > 0 && (await vscode.workspace.applyEdit(edit, { isRefactoring: true }));
    await this.close(open, isApplied);
  }

  /** Close without a change. */
  discard(): Promise<void> {
    return this.end(false);
  }

  dispose(): void {
    this.open?.decide(false);
    this.registered.dispose();
    this.textChanged.dispose();
    this.rowsChanged.dispose();
  }

  provideTextDocumentContent(uri: vscode.Uri): string {
    const open = this.open;
    return open && uri.query === open.proposal.query ? proposed(open.document.getText(), open.hunks) : "";
  }

  getChildren(row?: Row): Row[] {
    return row || !this.open ? [] : [...this.open.rows];
  }

  /** The list is flat; without this the editor cannot bring it into view. */
  getParent(): undefined {
    return undefined;
  }

  getTreeItem({ index }: Row): vscode.TreeItem {
    const hunk = this.open?.hunks[index];
    if (!this.open || !hunk) {
      return new vscode.TreeItem("");
    }
    const { document } = this.open;
    const first = document.positionAt(hunk.start);
    const range = new vscode.Range(first, document.positionAt(hunk.end));
    // Whole lines: a change inside a line says little without the line.
    const before = document.lineAt(first).text.slice(0, first.character);
    const after = document.lineAt(range.end).text.slice(range.end.character);
    const item = new vscode.TreeItem(summary(document.getText(range), before + hunk.newText + after));
    item.description = `line ${first.line + 1}`;
    item.checkboxState = hunk.isTicked ? vscode.TreeItemCheckboxState.Checked : vscode.TreeItemCheckboxState.Unchecked;
    return item;
  }

  private tick(ticked: number, isTicked: boolean): void {
    if (this.open) {
      this.open.hunks = this.open.hunks.map((hunk, index) => (index === ticked ? { ...hunk, isTicked } : hunk));
      this.refresh();
    }
  }

  /** Keep the changes at their places while the user goes on typing. */
  private follow(event: vscode.TextDocumentChangeEvent): void {
    if (!this.open || event.document !== this.open.document || event.contentChanges.length === 0) {
      return;
    }
    // The offsets of one event all refer to the text before it: from the last to the first none moves another.
    const changes = [...event.contentChanges].sort((one, other) => other.rangeOffset - one.rangeOffset);
    for (const { rangeOffset, rangeLength, text } of changes) {
      this.open.hunks = rebased(this.open.hunks, { start: rangeOffset, end: rangeOffset + rangeLength, text });
    }
    this.open.rows = this.open.hunks.map((_, index) => ({ index }));
    if (this.open.hunks.length === 0) {
      void this.end(false);
    } else {
      this.refresh();
    }
  }

  private refresh(): void {
    if (this.open) {
      const { hunks, proposal, title, note } = this.open;
      const numTicked = hunks.filter(({ isTicked }) => isTicked).length;
      const what = hunks.length === 1 ? "change" : "changes";
      this.view.title = title;
      this.view.message = `${note}Apply takes ${numTicked} of ${hunks.length} ${what}; untick what is not to be.`;
      this.textChanged.fire(proposal);
    }
    this.rowsChanged.fire(undefined);
  }

  /** Bring a change into view, in the difference of the file and the proposal. */
  private async reveal(index: number): Promise<void> {
    if (!this.open) {
      return;
    }
    const { document, proposal, hunks, title } = this.open;
    const text = proposed(document.getText(), hunks);
    const line = text.slice(0, startInProposed(hunks, index)).split(/\r\n|\r|\n/).length - 1;
    await vscode.commands.executeCommand("vscode.diff", document.uri, proposal, `${title}: ${nameOf(document)}`, {
      preview: false,
      selection: new vscode.Range(line, 0, line, 0),
    });
  }

  private async end(isApplied: boolean): Promise<void> {
    const open = this.open;
    this.open = undefined;
    if (open) {
      await this.close(open, isApplied);
    }
  }

  private async close(open: Open, isApplied: boolean): Promise<void> {
    await vscode.commands.executeCommand("setContext", CONTEXT, false);
    this.rowsChanged.fire(undefined);
    const tabs = vscode.window.tabGroups.all.flatMap((group) => group.tabs);
    const ours = tabs.filter(
      ({ input }) => input instanceof vscode.TabInputTextDiff && input.modified.toString() === open.proposal.toString(),
    );
    await vscode.window.tabGroups.close(ours);
    if (!open.document.isClosed) {
      await vscode.window.showTextDocument(open.document, { preview: false });
    }
    open.decide(isApplied);
  }

  private isOurs({ input }: vscode.Tab): boolean {
    return (
      this.open !== undefined &&
      input instanceof vscode.TabInputTextDiff &&
      input.modified.toString() === this.open.proposal.toString()
    );
  }
}

/** Preview an edit where that is wanted and possible; else apply it the editor's own way. */
export async function previewOrApply(
  preview: EditPreview,
  client: LanguageClient,
  edit: WorkspaceEdit,
  title: string,
): Promise<boolean> {
  if (confirmsEdits() && preview.canShow(edit)) {
    return preview.show(edit, title);
  }
  return vscode.workspace.applyEdit(await client.protocol2CodeConverter.asWorkspaceEdit(edit));
}

function hunksOf(document: vscode.TextDocument, { edits }: SingleFileEdit): Hunk[] {
  return edits
    .map(({ range, newText }) => ({
      start: document.offsetAt(new vscode.Position(range.start.line, range.start.character)),
      end: document.offsetAt(new vscode.Position(range.end.line, range.end.character)),
      newText,
      isTicked: true,
    }))
    .sort((one, other) => one.start - other.start);
}

function documentOf(uri: string): vscode.TextDocument | undefined {
  const wanted = vscode.Uri.parse(uri).toString();
  return vscode.workspace.textDocuments.find((document) => document.uri.toString() === wanted);
}

function nameOf(document: vscode.TextDocument): string {
  return document.uri.path.split("/").pop() ?? document.uri.path;
}
