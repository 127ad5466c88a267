// The top line: how much is done, what is being proposed, whether all is saved.

import { $ } from "./dom.js";

export function makeTop({ folder, saver }) {
  const progress = () => {
    const { done, total } = folder.count();
    bar("progress", done, total, `${done} of ${total} done`);
    const { proposing } = folder.progress;
    $("proposing").hidden = !proposing;
    if (proposing) bar("proposing", proposing.done, proposing.total, `Proposing ${proposing.done} of ${proposing.total}${left(proposing.seconds_left)}`);
  };
  // Thousands of proposals come as thousands of events: counted once a frame of the display.
  let asked = false;
  const soon = () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      progress();
    });
  };
  ["progress", "frame", "frames"].forEach((kind) => folder.on(kind, soon));
  folder.on("frames", () => ($("folder").textContent = folder.name));
  folder.on("model", () => {
    const { ready, error } = folder.model;
    $("model").textContent = error ? "Model cannot be used" : ready ? "" : "Model is loading…";
    $("model").title = error || "";
    $("model").className = error ? "bad" : "muted";
  });
  let saved = null;
  saver.on("state", (pending, offline) => {
    clearTimeout(saved);
    // A stroke is saved within milliseconds: words that flicker say nothing.
    saved = setTimeout(() => link(pending, offline, saver.conflicts, saver.failing), offline ? 0 : 150);
  });
  link(0, false);
}

function bar(id, done, total, text) {
  $(`${id}-bar`).style.width = `${total ? (100 * done) / total : 0}%`;
  $(`${id}-text`).textContent = text;
  $(id).setAttribute("aria-valuemax", total);
  $(id).setAttribute("aria-valuenow", done);
}

function left(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 60) return `, ${Math.max(1, Math.round(seconds))} s left`;
  return `, ${Math.round(seconds / 60)} min left`;
}

/** Says whether all is on the server's disk. */
export function link(pending, offline, conflicts = 0, failing = 0) {
  const kept = pending ? `${pending} ${pending === 1 ? "change is" : "changes are"} kept and sent when it is back` : "trying again";
  $("link").className = offline || failing ? "bad" : conflicts ? "warn" : pending ? "muted" : "good";
  const stuck = failing && `Not saved: ${failing} ${failing === 1 ? "picture" : "pictures"}`;
  $("link").textContent = offline ? `No connection: ${kept}` : stuck ? stuck : conflicts ? "Not saved: choose" : pending ? "Saving…" : "✓ Saved";
}
