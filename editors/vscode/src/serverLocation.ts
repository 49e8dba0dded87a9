/**
 * Where the server's program is. Owns the order of places and the message when it is nowhere; asks the disk through a
 * function, so that it can be tested. Does not start anything.
 */

import * as path from "node:path";

export interface Surroundings {
  /** Setting `seedls.server.path`; empty when not set. */
  configuredPath: string;
  /** Value of the PATH variable. */
  searchPath: string;
  /** The environment that the extension made on request; it may not exist. */
  privateFolder: string;
  /** Folders of the workspace; empty when the user has not trusted them. */
  trustedFolders: readonly string[];
  homeFolder: string;
  platform: NodeJS.Platform;
  isProgram: (file: string) => boolean;
}

export type ServerLocation =
  | { isFound: true; program: string; source: "setting" | "PATH" | "private" | "workspace" }
  | { isFound: false; message: string };

/** The configured path, else `seedls` on the PATH, else in the private environment, else in a workspace's `.venv`. */
export function findServer(around: Surroundings): ServerLocation {
  if (around.configuredPath.trim()) {
    return configured(around, around.configuredPath.trim());
  }
  const onPath = around.searchPath
    .split(around.platform === "win32" ? ";" : ":")
    .filter((folder) => isAbsolute(around, folder));
  const fromPath = firstProgram(around, onPath);
  if (fromPath) {
    return { isFound: true, program: fromPath, source: "PATH" };
  }
  const scripts = around.platform === "win32" ? "Scripts" : "bin";
  const inPrivate = firstProgram(around, [join(around, around.privateFolder, scripts)]);
  if (inPrivate) {
    return { isFound: true, program: inPrivate, source: "private" };
  }
  const environments = around.trustedFolders.map((folder) => join(around, folder, ".venv", scripts));
  const inWorkspace = firstProgram(around, environments);
  if (inWorkspace) {
    return { isFound: true, program: inWorkspace, source: "workspace" };
  }
  return {
    isFound: false,
    message:
      "seedls was not found: not on the PATH and not in a .venv of this workspace. " +
      "Install the server, or set seedls.server.path.",
  };
}

function configured(around: Surroundings, given: string): ServerLocation {
  const program = given.startsWith("~/") ? join(around, around.homeFolder, given.slice(2)) : given;
  if (!isAbsolute(around, program)) {
    return { isFound: false, message: `seedls.server.path is "${given}", which is not an absolute path` };
  }
  if (!around.isProgram(program)) {
    return { isFound: false, message: `seedls.server.path is "${given}", where there is no program` };
  }
  return { isFound: true, program, source: "setting" };
}

function firstProgram(around: Surroundings, folders: readonly string[]): string | undefined {
  const name = around.platform === "win32" ? "seedls.exe" : "seedls";
  return folders.map((folder) => join(around, folder, name)).find((file) => around.isProgram(file));
}

function join(around: Surroundings, ...parts: string[]): string {
  return around.platform === "win32" ? path.win32.join(...parts) : path.posix.join(...parts);
}

function isAbsolute(around: Surroundings, file: string): boolean {
  return around.platform === "win32" ? path.win32.isAbsolute(file) : path.posix.isAbsolute(file);
}
