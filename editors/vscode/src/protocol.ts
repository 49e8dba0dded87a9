/**
 * What the server speaks beyond the standard: the mirror of seedls/protocol.py, proved equal by
 * tests/editors/vscode/test_package.py. Owns names and payload types; knows neither the editor nor the client library.
 */

export const STATUS = "seedls/status";
export const EXPLAIN_LAST = "seedls/explainLast";
export const NEXT_EDIT = "seedls/nextEdit";
export const COPILOT_INLINE_EDIT = "textDocument/copilotInlineEdit";
export const COPILOT_DID_FOCUS = "textDocument/didFocus";
export const COPILOT_DID_SHOW = "textDocument/didShowInlineEdit";
export const STATE_CHANGED = "seedls/stateChanged";
export const EDIT_RUN_START = "seedls/editRun/start";
export const EDIT_RUN_STEP = "seedls/editRun/step";
export const EDIT_RUN_ACCEPT = "seedls/editRun/accept";
export const EDIT_RUN_CANCEL = "seedls/editRun/cancel";

export const COMMAND_STATUS = "seedls.status";
export const COMMAND_EXPLAIN_LAST = "seedls.explainLast";
export const COMMAND_RESTART = "seedls.restart";
export const COMMAND_ACCEPTED = "seedls.accepted";
export const COMMAND_APPLY_ACTION = "seedls.applyAction";
export const COMMAND_REFACTOR = "seedls.refactor";
export const COMMAND_DELETE_KEPT_RATE = "seedls.deleteKeptRate";

export const CUSTOM_INSTRUCTION = "custom";
export const MAX_PROMPT_CHARACTERS = 2000;

/** The model's state. */
export interface StateChanged {
  state: string;
  message: string;
}

/** Why the last answer was what it was. */
export interface Explanation {
  request: string;
  outcome: string;
  reason: string;
  milliseconds: number;
}

/** Model and counters of this session. */
export interface Status {
  state: string;
  message: string;
  model: string;
  counters: Record<string, number>;
  p50_ms: Record<string, number>;
  p90_ms: Record<string, number>;
}

/** `CodeAction.data`: which rewrite, of which characters, of which version. */
export interface ActionData {
  uri: string;
  version: number;
  start: number;
  end: number;
  instruction: string;
  diagnostics: string[];
  prompt: string;
}

/** One follow-up edit. */
export interface NextEdit {
  range: { start: { line: number; character: number }; end: { line: number; character: number } };
  text: string;
  kind: string;
}

/** Follow-up edits of one version of a document: any of them may be applied, also all. */
export interface NextEdits {
  uri: string;
  version: number;
  id: string;
  edits: NextEdit[];
}

/** A rewrite in the user's own words. */
export interface RefactorRequest {
  uri: string;
  range: { start: { line: number; character: number }; end: { line: number; character: number } };
  instruction: string;
}

/** A place of a document, as the protocol counts it. */
interface Range {
  start: { line: number; character: number };
  end: { line: number; character: number };
}

/** An edit that the user wants to watch. */
export interface EditRunStart {
  uri: string;
  instruction: string;
  range: Range | null;
  pinned: Range[];
  diagnostics: string[];
}

/** What is asked of a run. */
export interface EditRunRequest {
  run: string;
  milliseconds: number;
}

/** How far a run is, and the edits that would be applied now. */
export interface EditRunState {
  run: string;
  state: string;
  reason: string;
  version: number;
  edits: { range: Range; newText: string }[];
  fraction: number;
  tokens: number;
  forwards: number;
}
