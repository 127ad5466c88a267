// Short words at the edge of the picture, gone after a while; what needs a person stays until it is closed.

import { $, h } from "./dom.js";

const SHOWN = 6000;
const MOST = 3;

export function say(text, { mend = "", stays = false, action = null } = {}) {
  const list = $("messages");
  const same = [...list.children].find((each) => each.dataset.text === text);
  same?.remove();
  const message = h("div", { class: stays ? "message error" : "message", "data-text": text }, h("span", {}, text));
  if (mend) message.append(h("span", { class: "muted" }, ` ${mend}`));
  if (action) {
    const [name, run] = action;
    message.append(h("button", { type: "button", onclick: () => (message.remove(), run()) }, name));
  }
  if (stays) message.append(h("button", { type: "button", "aria-label": "Close", onclick: () => message.remove() }, "✕"));
  else setTimeout(() => message.remove(), SHOWN);
  list.append(message);
  while (list.children.length > MOST) list.firstChild.remove();
}

/** Says a refusal of the server. */
export function sayError(error) {
  const text = error.message || error.error || String(error);
  say(text.charAt(0).toUpperCase() + text.slice(1), { mend: error.mend && `– ${error.mend}`, stays: true });
}
