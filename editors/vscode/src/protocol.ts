/**
 * What the server speaks beyond the standard: the mirror of seedls/protocol.py, proved equal by
 * tests/editors/vscode/test_package.py. Owns names and payload types; knows neither the editor nor the client library.
 */

export const STATUS = "seedls/status";
export const EXPLAIN_LAST = "seedls/explainLast";
export const STATE_CHANGED = "seedls/stateChanged";

export const COMMAND_STATUS = "seedls.status";
export const COMMAND_EXPLAIN_LAST = "seedls.explainLast";
export const COMMAND_RESTART = "seedls.restart";
export const COMMAND_ACCEPTED = "seedls.accepted";
export const COMMAND_APPLY_ACTION = "seedls.applyAction";
export const COMMAND_REFACTOR = "seedls.refactor";

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

/** A rewrite in the user's own words. */
export interface RefactorRequest {
  uri: string;
  range: { start: { line: number; character: number }; end: { line: number; character: number } };
  instruction: string;
}
