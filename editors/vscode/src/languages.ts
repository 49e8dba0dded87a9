/** Which documents the server is started for. package.json's activation events are these (tests/package.test.ts). */

export const LANGUAGES: readonly string[] = [
  "c",
  "cpp",
  "csharp",
  "go",
  "java",
  "javascript",
  "javascriptreact",
  "kotlin",
  "lua",
  "php",
  "python",
  "ruby",
  "rust",
  "shellscript",
  "sql",
  "swift",
  "typescript",
  "typescriptreact",
];

/** The same list, switched on or off for one language. */
export function toggled(disabled: readonly string[], language: string): string[] {
  return disabled.includes(language) ? disabled.filter((one) => one !== language) : [...disabled, language];
}
