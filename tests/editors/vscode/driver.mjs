/**
 * Drives VS Code in a headless browser as a user would: keys, palette, clicks. Reads a plan, writes what it saw.
 * Usage: node driver.mjs PLAN.json. Owns gestures and reading the screen; what must be seen is the Python test's.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const plan = JSON.parse(readFileSync(process.argv[2], "utf8"));
const { chromium } = createRequire(path.join(plan.playwright, "package.json"))("playwright-core");
const seen = { steps: [] };
const STATUS = '.statusbar-item[id="seedls.seedls.seedls.status"], .statusbar-item[id$="seedls.status"]';
const APPLY = '.action-label[aria-label^="Apply the Ticked Changes"]';
const CHANGES = '.tree-explorer-viewlet-tree-view .monaco-list-row';
const GHOST = '[class*="ghost-text"]';
const BROWSER_ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

const browser = await chromium.launch({ executablePath: plan.browser, headless: true, args: BROWSER_ARGUMENTS });
const page = await browser.newPage({ viewport: plan.viewport });
page.setDefaultTimeout(plan.timeout_ms);

async function shoot(name) {
  await page.screenshot({ path: path.join(plan.screenshots, `${name}.png`) });
}

/** Open the quick input with a key and type into it until `wanted` is chosen: a busy machine loses the first tries. */
async function choose(key, text, wanted) {
  const box = page.locator(".quick-input-widget input");
  const limit = Date.now() + plan.timeout_ms;
  for (;;) {
    try {
      await page.keyboard.press(key);
      await box.waitFor({ timeout: 5000 });
      await box.fill(text, { timeout: 5000 });
      if (wanted) {
        await page.locator(".quick-input-list .monaco-list-row.focused", { hasText: wanted }).waitFor({ timeout: 10000 });
      }
      break;
    } catch (error) {
      if (Date.now() > limit) {
        throw error;
      }
      await page.keyboard.press("Escape");
    }
  }
  await page.keyboard.press("Enter");
}

async function quickInput(key, text, wanted) {
  await choose(key, text, wanted);
  const box = page.locator(".quick-input-widget input");
  await box.waitFor({ state: "hidden", timeout: 10000 }).catch(() => {}); // a command may ask for something itself
}

const palette = (command) => quickInput("F1", `>${command}`, command.replace(/\.\.\.$/, ""));

async function goTo(place) {
  await quickInput("Control+g", `:${place}`);
  await page.waitForTimeout(200);
}

/** The text that editors show, line by line; ghost text is no part of it. */
async function buffer() {
  return page.evaluate((ghost) => {
    const lines = [...document.querySelectorAll(".editor-instance .view-lines .view-line")];
    lines.sort((one, other) => parseInt(one.style.top) - parseInt(other.style.top));
    return lines.map((line) => {
      const copy = line.cloneNode(true);
      copy.querySelectorAll(ghost).forEach((node) => node.remove());
      return copy.textContent.replaceAll("\u00a0", " ");
    });
  }, GHOST);
}

/** The ghost text as it is read: pieces (one for each colour) by line, then from left to right. */
async function ghostText() {
  return page.evaluate((ghost) => {
    const pieces = [...document.querySelectorAll(ghost)].filter((node) => !node.querySelector(ghost));
    const lines = new Map();
    for (const node of pieces) {
      const { left, top, height } = node.getBoundingClientRect();
      const line = Math.round((top + height / 2) / 8);
      lines.set(line, [...(lines.get(line) ?? []), { left, text: node.textContent.replaceAll("\u00a0", " ") }]);
    }
    const ordered = [...lines.entries()].sort(([one], [other]) => one - other).map(([, line]) => line);
    return ordered.map((line) => line.sort((one, other) => one.left - other.left).map(({ text }) => text).join("")).join("\n");
  }, GHOST);
}

async function untilStatus(pattern) {
  const limit = Date.now() + plan.timeout_ms;
  for (;;) {
    const item = page.locator(STATUS).first();
    const label = (await item.count()) ? ((await item.getAttribute("aria-label")) ?? "") + (await item.innerText()) : "";
    if (new RegExp(pattern).test(label)) {
      return label;
    }
    if (Date.now() > limit) {
      throw new Error(`the status item says ${JSON.stringify(label)}, not ${pattern}`);
    }
    await page.waitForTimeout(100);
  }
}

const ACTIONS = {
  async open({ file }) {
    await page.goto(plan.url);
    await page.locator(".monaco-workbench").waitFor();
    await page.locator(".statusbar-item").first().waitFor();
    await quickInput("Control+p", file, file);
    await page.locator(`.tab[data-resource-name="${file}"], .tab[aria-label^="${file}"]`).first().waitFor();
    await page.locator(".view-lines").first().click({ position: { x: 60, y: 10 } });
  },
  status: ({ matches }) => untilStatus(matches),
  goTo: ({ place }) => goTo(place),
  press: ({ key }) => page.keyboard.press(key),
  type: ({ text }) => page.keyboard.type(text, { delay: 40 }),
  command: ({ name }) => palette(name),
  async ghost({ shown }) {
    await page.locator(GHOST).first().waitFor();
    await page.waitForTimeout(300);
    if (shown) {
      await shoot(shown);
    }
    return ghostText();
  },
  async noGhost({ after_ms }) {
    await page.waitForTimeout(after_ms);
    return page.locator(GHOST).count();
  },
  async refactor({ from, to, instruction, shown }) {
    await goTo(from);
    await page.keyboard.press("Home");
    for (let line = from; line < to; line++) {
      await page.keyboard.press("Shift+ArrowDown");
    }
    await page.keyboard.press("Shift+End");
    await choose("F1", ">seedls: Refactor Selection", "Refactor Selection");
    const box = page.locator(".quick-input-widget input");
    await page.locator(".quick-input-title", { hasText: "refactor the selection" }).waitFor();
    const offered = await page.locator(".quick-input-list .monaco-list-row").allInnerTexts();
    await box.fill(instruction);
    await page.locator(".quick-input-list .monaco-list-row", { hasText: instruction }).first().waitFor();
    if (shown) {
      await shoot(shown);
    }
    await page.keyboard.press("Enter");
    return offered;
  },
  async preview({ shown }) {
    await page.locator(APPLY).first().waitFor();
    const rows = page.locator(CHANGES);
    await rows.first().waitFor();
    await page.waitForTimeout(1500); // the difference editor lays out after its frame is there
    if (shown) {
      await shoot(shown);
    }
    return rows.allInnerTexts();
  },
  async tick({ row }) {
    const told = page.locator(".message", { hasText: "Apply takes" }).first();
    const before = await told.innerText();
    await page.locator(CHANGES).nth(row).locator(".monaco-custom-toggle, input[type=checkbox]").first().click();
    await page.locator(".message", { hasText: "Apply takes", hasNotText: before }).first().waitFor();
    await page.waitForTimeout(300); // the list is drawn anew after its message
  },
  async applyPreview() {
    await page.locator(APPLY).first().click();
    await ACTIONS.previewClosed();
  },
  async discardPreview() {
    await page.locator('.action-label[aria-label^="Discard the Changes"]').first().click();
    await ACTIONS.previewClosed();
  },
  /** Until then the difference view shows the new text too, and keys go there. */
  async previewClosed() {
    await page.locator(APPLY).first().waitFor({ state: "detached" });
    await page.locator('.tab[aria-label*="Refactor: "], .tab[aria-label*="Simplify: "]').first().waitFor({ state: "detached" });
    await page.waitForTimeout(500);
  },
  async menu({ shown }) {
    await page.locator(STATUS).first().click();
    await page.locator(".quick-input-list .monaco-list-row").first().waitFor();
    await page.waitForTimeout(300);
    if (shown) {
      await shoot(shown);
    }
    const rows = await page.locator(".quick-input-list .monaco-list-row").allInnerTexts();
    await page.keyboard.press("Escape");
    return rows;
  },
  async menuEntry({ name }) {
    await page.locator(STATUS).first().click();
    const entry = page.locator(".quick-input-list .monaco-list-row", { hasText: name }).first();
    await entry.waitFor();
    await entry.click();
  },
  async codeAction({ name }) {
    await palette("Refactor...");
    const entry = page.locator(".action-widget .monaco-list-row", { hasText: name }).first();
    await entry.waitFor();
    await entry.click();
  },
  async untilBuffer({ contains }) {
    const limit = Date.now() + plan.timeout_ms;
    for (;;) {
      const text = (await buffer()).join("\n");
      if (text.includes(contains)) {
        return text;
      }
      if (Date.now() > limit) {
        throw new Error(`never in the buffer: ${contains}\n${text}`);
      }
      await page.waitForTimeout(100);
    }
  },
  async save() {
    await page.keyboard.press("Control+s");
    await page.locator(".tab.active:not(.dirty)").first().waitFor();
  },
  kill({ pid_file }) {
    process.kill(Number(readFileSync(pid_file, "utf8")), "SIGKILL");
  },
  shoot: ({ shown }) => shoot(shown),
  wait: ({ ms }) => page.waitForTimeout(ms),
};

let problem = "";
for (const { action, ...options } of plan.steps) {
  try {
    const started = Date.now();
    const result = await ACTIONS[action](options);
    seen.steps.push({ action, result: result ?? null, ms: Date.now() - started });
  } catch (error) {
    problem = `${action} ${JSON.stringify(options)}: ${error.message}`;
    await shoot("failed").catch(() => {});
    seen.toasts = await page.locator(".notification-list-item").allInnerTexts();
    break;
  }
}
writeFileSync(plan.report, JSON.stringify({ ...seen, problem }, null, 1));
await browser.close();
process.exit(problem ? 1 : 0);
