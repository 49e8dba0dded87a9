/**
 * The changes of a rewrite as the user decides on them: which are ticked, where they are after later typing, and what
 * the text would be. Pure: offsets and strings, no editor.
 */

export interface Hunk {
  /** Offsets in the current text; the same while nothing before them is typed. */
  readonly start: number;
  readonly end: number;
  readonly newText: string;
  readonly isTicked: boolean;
}

/** One edit of the document: [start, end) became `text`. */
export interface TypedChange {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** The text with the ticked hunks applied. The hunks are ascending and do not overlap. */
export function proposed(text: string, hunks: readonly Hunk[]): string {
  const pieces: string[] = [];
  let cursor = 0;
  for (const hunk of hunks) {
    if (hunk.isTicked) {
      pieces.push(text.slice(cursor, hunk.start), hunk.newText);
      cursor = hunk.end;
    }
  }
  pieces.push(text.slice(cursor));
  return pieces.join("");
}

/** The hunks after `change`; one whose text was touched is gone. */
export function rebased(hunks: readonly Hunk[], change: TypedChange): Hunk[] {
  const shift = change.text.length - (change.end - change.start);
  return hunks.flatMap((hunk) => {
    if (hunk.end < change.start) {
      return [hunk];
    }
    if (hunk.start > change.end) {
      return [{ ...hunk, start: hunk.start + shift, end: hunk.end + shift }];
    }
    return [];
  });
}

/** Where a hunk's new text starts in the proposed text. */
export function startInProposed(hunks: readonly Hunk[], index: number): number {
  let shift = 0;
  for (const hunk of hunks.slice(0, index)) {
    shift += hunk.isTicked ? hunk.newText.length - (hunk.end - hunk.start) : 0;
  }
  return (hunks[index]?.start ?? 0) + shift;
}

const MAX_LABEL = 60;

/** One line for people: the first line that comes, else the first that goes. */
export function summary(old: string, newText: string): string {
  const first = (text: string) => text.split(/\r\n|\r|\n/).find((line) => line.trim() !== "");
  const coming = first(newText)?.trim();
  const text = coming ?? `remove ${first(old)?.trim() ?? "blank lines"}`;
  return text.length <= MAX_LABEL ? text : `${text.slice(0, MAX_LABEL - 1)}…`;
}
