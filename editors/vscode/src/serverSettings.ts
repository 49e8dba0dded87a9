/** Which part of section `seedls` is the server's. The server names every setting it does not know as a mistake. */

/** Keys of package.json that only this extension reads; `trace` is the client library's. */
export const CLIENT_KEYS: readonly string[] = ["server", "trace"];

/** The section without the client's own keys; anything that is no object is passed on as it is. */
export function forServer(section: unknown): unknown {
  if (typeof section !== "object" || section === null || Array.isArray(section)) {
    return section;
  }
  return Object.fromEntries(Object.entries(section).filter(([key]) => !CLIENT_KEYS.includes(key)));
}
