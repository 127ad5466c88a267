// The sheet of keys, from the same table that the keys run from.

import { h } from "./dom.js";
import { keyText } from "./keys.js";

const LOOP = [
  "Draw the lesion on one picture.",
  "Press P: the model proposes masks for all the others.",
  "Enter accepts, N says “no lesion”, R rejects; a wrong outline is corrected first.",
  "Each mask that you accept makes the next proposals better.",
];

const MOUSE = [
  ["Left", "draw; with Shift or Alt take away"],
  ["Wheel", "zoom (touchpad: two fingers move, pinch zooms)"],
  ["Space or middle button", "move the picture"],
  ["Right button", "brightness and contrast (up and down, left and right)"],
  ["Two fingers, pen", "move and zoom; a pen draws, then fingers do not"],
];

export function fillHelp(dialog, commands) {
  const groups = grouped(commands.filter(({ secret }) => !secret));
  const row = (keys, text) => h("div", { class: "line" }, h("span", { class: "keys" }, ...keys.map((key) => h("kbd", {}, key))), h("span", {}, text));
  const section = (title, rows) => h("section", {}, h("h3", {}, title), ...rows);
  dialog.replaceChildren(
    h("div", { class: "row" }, h("h2", {}, "How it goes"), h("span", { class: "space" }), h("button", { type: "button", onclick: () => dialog.close() }, "Close")),
    h("ol", {}, ...LOOP.map((text) => h("li", {}, text))),
    h("div", { class: "columns" },
      ...[...groups].map(([group, each]) => section(group, each.map((command) => row([command.shown || keyText(command.key)], command.text)))),
      section("Mouse, pen, fingers", MOUSE.map(([key, text]) => row([key], text)))),
    h("p", { class: "muted" }, "Every stroke is on the disk when it ends. Your pictures are never changed."),
  );
}

function grouped(commands) {
  const groups = new Map();
  commands.forEach((command) => groups.set(command.group, [...(groups.get(command.group) || []), command]));
  return groups;
}
