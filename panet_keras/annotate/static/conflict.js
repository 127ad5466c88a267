// Two hands on one picture: nothing is overwritten, a person chooses.

import { $, h } from "./dom.js";
import { sayError } from "./messages.js";

export function watchConflicts({ session, assets, overlay }) {
  const bar = $("conflict");
  let theirs = null;
  session.on("conflict", async (id) => {
    bar.hidden = id === null;
    theirs = null;
    overlay.set({ instead: null });
    if (id === null) return;
    const look = h("button", { type: "button", "aria-pressed": "false" }, "Show theirs");
    look.addEventListener("click", async () => {
      try {
        theirs = theirs ? null : (await assets.newest(id)).mask;
        overlay.set({ instead: theirs && theirs.data });
        look.setAttribute("aria-pressed", String(Boolean(theirs)));
        look.textContent = theirs ? "Show mine" : "Show theirs";
      } catch (error) {
        sayError(error);
      }
    });
    bar.replaceChildren(
      h("strong", {}, "Changed in another window."),
      h("span", {}, " Your stroke is not saved yet; nothing is lost."),
      h("span", { class: "space" }),
      look,
      h("button", { type: "button", onclick: () => session.settle(false) }, "Take theirs"),
      h("button", { type: "button", class: "main", onclick: () => session.settle(true) }, "Keep mine"),
    );
  });
}
