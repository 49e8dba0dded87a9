/** The instructions typed before, newest first. Owns their order and number; knows neither storage nor the box. */

export const MAX_KEPT = 20;

/** The history with `instruction` in front, once. Blank ones are not kept. */
export function remembered(history: readonly string[], instruction: string): string[] {
  const tidy = instruction.trim().replace(/\s+/g, " ");
  if (!tidy) {
    return [...history];
  }
  return [tidy, ...history.filter((one) => one !== tidy)].slice(0, MAX_KEPT);
}
