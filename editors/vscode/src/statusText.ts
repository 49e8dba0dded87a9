/** What the status item says. Pure: from what is known about the server to icon, text and tooltip. */

export interface Known {
  /** State of the process and of the model in it. */
  state: "missing" | "off" | "starting" | "unloaded" | "loading" | "ready" | "failed";
  /** One line for people. */
  message: string;
  /** Requests that the model is working on now. */
  numRunning: number;
  /** Outcome of the last completion, "" when none was asked. */
  outcome: string;
  reason: string;
  /** Language of the active document, and whether completions are off for it. */
  language: string;
  isLanguageOff: boolean;
}

export interface StatusText {
  text: string;
  tooltip: string;
  severity: "normal" | "warning" | "error";
}

const ICONS: Record<Known["state"], string> = {
  missing: "$(error)",
  off: "$(circle-slash)",
  starting: "$(loading~spin)",
  unloaded: "$(loading~spin)",
  loading: "$(loading~spin)",
  ready: "$(sparkle)",
  failed: "$(error)",
};

export const INITIAL: Known = {
  state: "off",
  message: "the server is not running",
  numRunning: 0,
  outcome: "",
  reason: "",
  language: "",
  isLanguageOff: false,
};

export function statusText(known: Known): StatusText {
  const lines = [`${wordOf(known)}: ${known.message}`];
  if (known.isLanguageOff) {
    lines.push(`completions are off for ${known.language}`);
  }
  if (known.outcome) {
    lines.push(`last completion: ${known.outcome}${known.reason ? `, ${known.reason}` : ""}`);
  }
  lines.push("click for the menu");
  const severity = known.state === "missing" || known.state === "failed" ? "error" : "normal";
  return { text: `${iconOf(known)} seedls${suffixOf(known)}`, tooltip: lines.join("\n"), severity };
}

/** The server's own words for its states; anything else is shown as a failure rather than hidden. */
export function asState(state: string): Known["state"] {
  return state === "unloaded" || state === "loading" || state === "ready" ? state : "failed";
}

function wordOf(known: Known): string {
  return known.state === "ready" && known.numRunning > 0 ? "busy" : known.state;
}

function iconOf(known: Known): string {
  if (known.state !== "ready") {
    return ICONS[known.state];
  }
  if (known.numRunning > 0) {
    return "$(loading~spin)";
  }
  return known.isLanguageOff ? "$(circle-slash)" : ICONS.ready;
}

function suffixOf(known: Known): string {
  if (known.state === "ready") {
    return known.numRunning === 0 && known.outcome === "quiet" ? ": quiet" : "";
  }
  return `: ${known.state === "missing" ? "not found" : known.state}`;
}
