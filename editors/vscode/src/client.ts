/**
 * The connection to the server: starts, stops and restarts it, and tells what it knows. Ghost text, code actions,
 * configuration and progress are the client library's own features. Owns the process; not the commands, not the item.
 */

import { accessSync, constants, statSync } from "node:fs";
import { homedir } from "node:os";

import * as vscode from "vscode";
import {
  CancellationToken,
  CodeActionResolveRequest,
  LanguageClient,
  RevealOutputChannelOn,
  State,
  TransportKind,
} from "vscode-languageclient/node";

import { confirmsEdits, serverPath } from "./config";
import type { EditPreview } from "./editPreview";
import { LANGUAGES } from "./languages";
import { EXPLAIN_LAST, STATE_CHANGED, STATUS } from "./protocol";
import type { Explanation, StateChanged, Status } from "./protocol";
import { findServer } from "./serverLocation";
import type { ServerLocation } from "./serverLocation";
import { forServer } from "./serverSettings";
import { INITIAL, asState } from "./statusText";
import type { Known } from "./statusText";

export type ServerKnown = Pick<Known, "state" | "message" | "numRunning" | "outcome" | "reason">;

export class SeedlsClient implements vscode.Disposable {
  private client: LanguageClient | undefined;
  private known: ServerKnown = INITIAL;
  /** One start or stop at a time, in the order asked for. */
  private queue: Promise<void> = Promise.resolve();
  private readonly changed = new vscode.EventEmitter<ServerKnown>();
  readonly onDidChange = this.changed.event;
  /** The server's edit arrived; from here on it is the user who decides, not the model that works. */
  private readonly applying = new vscode.EventEmitter<void>();

  constructor(
    readonly log: vscode.LogOutputChannel,
    private readonly preview: EditPreview,
    /** Where "Install the Server" puts it. */
    private readonly privateFolder: string,
  ) {}

  get now(): ServerKnown {
    return this.known;
  }

  /** The running client. Errors: none is running. */
  get running(): LanguageClient {
    if (!this.client || this.client.state !== State.Running) {
      throw new Error(`the server is not running: ${this.known.message}`);
    }
    return this.client;
  }

  /** Start the server where it is found; where it is not, the state says so and nothing is thrown. */
  start(): Promise<void> {
    return this.enqueue(() => this.startNow());
  }

  stop(): Promise<void> {
    return this.enqueue(() => this.stopNow());
  }

  restart(): Promise<void> {
    return this.enqueue(async () => {
      await this.stopNow();
      await this.startNow();
    });
  }

  /** Where the server would be started from. */
  locate(): ServerLocation {
    return locateServer(this.privateFolder);
  }

  /** Model and counters. */
  status(): Promise<Status> {
    return this.running.sendRequest<Status>(STATUS);
  }

  dispose(): void {
    void this.stop();
    this.changed.dispose();
    this.applying.dispose();
  }

  private enqueue(work: () => Promise<void>): Promise<void> {
    this.queue = this.queue.then(work, work);
    return this.queue;
  }

  private async startNow(): Promise<void> {
    if (this.client) {
      return;
    }
    const found = locateServer(this.privateFolder);
    if (!found.isFound) {
      this.log.warn(found.message);
      this.update({ state: "missing", message: found.message });
      return;
    }
    this.log.info(`starting ${found.program} (from ${found.source})`);
    this.update({ state: "starting", message: found.program });
    const client = this.create(found.program);
    this.client = client;
    try {
      await client.start();
    } catch (error) {
      this.client = undefined;
      this.log.error(`the server did not start: ${String(error)}`);
      this.update({ state: "failed", message: `${found.program} did not start; see the log` });
    }
  }

  private async stopNow(): Promise<void> {
    const client = this.client;
    this.client = undefined;
    if (client) {
      await client.dispose().catch((error: unknown) => {
        this.log.warn(`stopping: ${String(error)}`);
      });
    }
    this.update({ ...INITIAL });
  }

  private create(program: string): LanguageClient {
    const client: LanguageClient = new LanguageClient(
      "seedls",
      "seedls",
      { command: program, args: ["serve", "--stdio"], transport: TransportKind.stdio },
      {
        documentSelector: LANGUAGES.flatMap((language) => [
          { language, scheme: "file" },
          { language, scheme: "untitled" },
        ]),
        outputChannel: this.log,
        revealOutputChannelOn: RevealOutputChannelOn.Never,
        middleware: {
          workspace: {
            configuration: async (params, token, next) => {
              const answer = await next(params, token);
              return Array.isArray(answer) ? answer.map(forServer) : answer;
            },
            handleApplyEdit: async (params, next) => {
              this.applying.fire();
              if (confirmsEdits() && this.preview.canShow(params.edit)) {
                return { applied: await this.preview.show(params.edit, params.label ?? "Rewrite") };
              }
              return next(params, CancellationToken.None);
            },
          },
          provideInlineCompletionItems: (document, position, context, token, next) =>
            this.whileRunning(async () => {
              const items = await next(document, position, context, token);
              void this.noteLast();
              return items;
            }),
          resolveCodeAction: (action, token) => this.whileRunning(() => this.resolve(client, action, token)),
        },
      },
    );
    client.onNotification(STATE_CHANGED, (change: StateChanged) => {
      this.update({ state: asState(change.state), message: change.message });
    });
    client.onDidChangeState(({ newState }) => {
      if (client !== this.client) {
        return;
      }
      if (newState === State.Running) {
        void this.readState();
      } else if (newState === State.Stopped) {
        this.update({ state: "failed", message: "the server stopped; see the log", numRunning: 0 });
      }
    });
    return client;
  }

  /** Fill in an action: with a command that previews its edit, or with the edit where it cannot be previewed. */
  private async resolve(
    client: LanguageClient,
    action: vscode.CodeAction,
    token: vscode.CancellationToken,
  ): Promise<vscode.CodeAction> {
    const asked = await client.code2ProtocolConverter.asCodeAction(action, token);
    const resolved = await client.sendRequest(CodeActionResolveRequest.type, asked, token);
    if (resolved.edit && confirmsEdits() && this.preview.canShow(resolved.edit)) {
      action.command = this.preview.commandFor(resolved.edit, resolved.title);
    } else if (resolved.edit) {
      action.edit = await client.protocol2CodeConverter.asWorkspaceEdit(resolved.edit, token);
    }
    return action;
  }

  /** The state may have changed before the notification had a listener. */
  private async readState(): Promise<void> {
    try {
      const { state, message } = await this.status();
      this.update({ state: asState(state), message });
    } catch (error) {
      this.log.debug(`status: ${String(error)}`); // it stopped meanwhile: its state is told by another way
    }
  }

  /** Remember what came of the last request, so that silence has a reason in the status item. */
  private async noteLast(): Promise<void> {
    try {
      const last = await this.running.sendRequest<Explanation>(EXPLAIN_LAST);
      if (last.request === "inlineCompletion") {
        this.update({ outcome: last.outcome, reason: last.reason });
      }
    } catch (error) {
      this.log.debug(`last answer: ${String(error)}`);
    }
  }

  /** Count `work` as running while it runs. */
  async whileRunning<T>(work: () => Promise<T>): Promise<T> {
    this.update({ numRunning: this.known.numRunning + 1 });
    try {
      return await work();
    } finally {
      this.update({ numRunning: Math.max(0, this.known.numRunning - 1) });
    }
  }

  /** Count `work` as running until it ends or the edit it made reaches the user. */
  untilApplied<T>(work: () => Promise<T>): Promise<T> {
    const done = work();
    const applied = new Promise<void>((resolve) => {
      const listening = this.applying.event(() => {
        listening.dispose();
        resolve();
      });
      const end = () => {
        listening.dispose();
        resolve();
      };
      void done.then(end, end);
    });
    void this.whileRunning(() => applied);
    return done;
  }

  private update(change: Partial<ServerKnown>): void {
    this.known = { ...this.known, ...change };
    this.changed.fire(this.known);
  }
}

/** Where the server is now, by the settings, the PATH, the private environment and the workspace. */
function locateServer(privateFolder: string): ServerLocation {
  const folders = vscode.workspace.isTrusted ? (vscode.workspace.workspaceFolders ?? []) : [];
  return findServer({
    configuredPath: serverPath(),
    searchPath: process.env["PATH"] ?? "",
    privateFolder,
    trustedFolders: folders.filter((folder) => folder.uri.scheme === "file").map((folder) => folder.uri.fsPath),
    homeFolder: homedir(),
    platform: process.platform,
    isProgram,
  });
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}
