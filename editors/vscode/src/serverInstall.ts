/**
 * The private environment of the server: which programs make it, in which order, and what the user is told. Pure but
 * for the type of a step; running them is serverSetup.ts.
 */

import * as path from "node:path";

export interface Step {
  title: string;
  program: string;
  arguments: readonly string[];
}

export interface Wanted {
  /** A Python that is new enough. */
  python: string;
  /** Folder of the environment; may exist already. */
  folder: string;
  /** What pip installs: a wheel, a folder of a clone, or a name. */
  packageName: string;
  pipArguments: readonly string[];
  model: string;
  platform: NodeJS.Platform;
}

export const MINIMUM_PYTHON = [3, 11] as const;

/** Programs that may be a Python, best first. */
export const PYTHON_NAMES: readonly string[] = ["python3.13", "python3.12", "python3.11", "python3", "python"];

/** Arguments that make a Python exit with 0 when it is new enough and can make environments. */
export const PYTHON_CHECK: readonly string[] = [
  "-c",
  `import sys, venv, ensurepip; sys.exit(sys.version_info < (${MINIMUM_PYTHON.join(", ")}))`,
];

export function programIn(folder: string, name: string, platform: NodeJS.Platform): string {
  return platform === "win32"
    ? path.win32.join(folder, "Scripts", `${name}.exe`)
    : path.posix.join(folder, "bin", name);
}

/** Environment, server, model: each step may be run again, and goes on where it stopped. */
export function installSteps(wanted: Wanted): Step[] {
  const python = programIn(wanted.folder, "python", wanted.platform);
  return [
    {
      title: "Making the environment",
      program: wanted.python,
      arguments: ["-m", "venv", wanted.folder],
    },
    {
      title: "Installing the server (the first time some minutes: PyTorch comes with it)",
      program: python,
      arguments: [
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        "--upgrade",
        ...wanted.pipArguments,
        wanted.packageName,
      ],
    },
    {
      title: "Installing the model (about 500 MB, once)",
      program: programIn(wanted.folder, "seedls", wanted.platform),
      arguments: ["model", "install", wanted.model],
    },
  ];
}

/** What pip is to install: the setting, else the wheel that came with the extension. Errors: there is neither. */
export function packageToInstall(configured: string, bundled: readonly string[]): string {
  if (configured.trim()) {
    return configured.trim();
  }
  const wheel = [...bundled].sort().pop();
  if (!wheel) {
    throw new Error("this extension was packaged without the server: set seedls.server.package to a clone or a wheel");
  }
  return wheel;
}
