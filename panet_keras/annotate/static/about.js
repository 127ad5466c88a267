// The line below the picture: what it is, what the model says, and the keys that decide.

import { $, h } from "./dom.js";
import { nameOf } from "./folder.js";
import { icon, stateText } from "./icons.js";
import { keyText } from "./keys.js";
import { percent } from "./session.js";

const DECISIONS = [["accept", "Accept", "main"], ["normal", "No lesion", ""], ["reject", "Reject", ""], ["propose", "Propose", "propose"]];

export function makeAbout({ commands, session, folder, queue }) {
  const byName = new Map(commands.map((command) => [command.name, command]));
  const button = (name, text, style) => {
    const { key, run, text: title } = byName.get(name);
    return h("button", { type: "button", class: style, title, id: `do-${name}`, onclick: run }, text, h("kbd", {}, keyText(key)));
  };
  $("decisions").replaceChildren(
    button("previous", "‹", "step"), button("next", "›", "step"), ...DECISIONS.map((each) => button(...each)),
  );
  const show = () => {
    const { frame } = session;
    if (!frame) return;
    const place = queue.ids.indexOf(frame.id) + 1;
    const told = [
      place ? `${place} of ${queue.ids.length}` : null,
      frame.patient ? `Patient ${frame.patient}` : null,
      frame.state === "proposed" && frame.presence !== null ? `lesion ${percent(frame.presence)}` : null,
      frame.state === "proposed" && frame.doubt !== null ? `doubt ${percent(frame.doubt)}` : null,
      frame.person ? `by ${frame.person}` : null,
    ];
    const state = h("span", { class: "state", "data-state": frame.state }, icon(frame.state), stateText(frame));
    $("frame-text").replaceChildren(h("div", { class: "frame-name", title: frame.name }, nameOf(frame)),
      h("div", { class: "muted" }, state, ...told.filter(Boolean).map((text) => h("span", {}, text))));
    $("empty").hidden = frame.state !== "unreadable";
    $("empty").textContent = frame.error || "";
    $("sheet").hidden = frame.state === "unreadable";
    document.title = `${nameOf(frame)} – ${folder.name}`;
  };
  session.on("shown", show);
  queue.on("sorted", show);
  folder.on("frame", (frame) => frame.id === session.id && show());
}
