// The column of tools: each button with its key.

import { $, h } from "./dom.js";
import { icon } from "./icons.js";
import { keyText } from "./keys.js";

const ROWS = [
  ["Draw", ["brush", "eraser", "outline", "polygon"]],
  ["Correct", ["grow", "shrink", "fillHoles", "keepLargest", "smooth", "clear", "undo", "redo"]],
];
const NAMES = {
  brush: "Brush", eraser: "Eraser", outline: "Outline", polygon: "Polygon", grow: "Grow", shrink: "Shrink",
  fillHoles: "Fill holes", keepLargest: "Largest", smooth: "Smooth", clear: "Clear", undo: "Undo", redo: "Redo",
  filled: "Fill", heat: "Likelihood", look: "Explain", fit: "Fit",
};

export function makeToolbar({ commands, editor, overlay, folder, layers, picture, view, addLabel }) {
  const byName = new Map(commands.map((command) => [command.name, command]));
  const button = (name) => {
    const { key, run, text: title } = byName.get(name);
    return h("button", { type: "button", class: "tool", title, id: `tool-${name}`, onclick: run },
      icon(name), h("span", {}, NAMES[name]), h("kbd", {}, keyText(key)));
  };
  const size = h("input", { type: "range", min: 1, max: 100, id: "brush-size", "aria-label": "Brush size in pixels" });
  const sizeText = h("output", { for: "brush-size" });
  const labels = h("div", { class: "labels", role: "radiogroup", "aria-label": "Label" });
  const opacity = h("input", { type: "range", min: 5, max: 100, step: 5, id: "opacity", "aria-label": "Opacity of the fill" });
  const windowText = h("span", { id: "window-text" });

  size.addEventListener("input", () => editor.setBrush(Number(size.value)));
  opacity.addEventListener("input", () => overlay.setOpacity(opacity.value / 100));
  // A slider keeps the keys to itself: they go back to the page when the mouse lets it go.
  [size, opacity].forEach((input) => input.addEventListener("change", () => input.matches(":focus-visible") || input.blur()));

  const [draw, correct] = ROWS.map(([title, names]) => h("section", {}, h("h2", {}, title), ...names.map((name) => button(name))));
  draw.append(h("label", { class: "slider" }, h("span", { class: "row" }, "Size", h("kbd", {}, "["), h("kbd", {}, "]"), h("span", { class: "space" }), sizeText), size), labels);
  $("tools").replaceChildren(draw, correct, h("section", {}, h("h2", {}, "See"),
    ...["filled", "heat", "look", "fit"].map((name) => button(name)),
    h("label", { class: "slider" }, h("span", { class: "row" }, "Strength", h("kbd", {}, ","), h("kbd", {}, ".")), opacity), windowText));

  const show = () => {
    for (const name of ROWS[0][1]) $(`tool-${name}`).setAttribute("aria-pressed", name === editor.tool);
    size.value = editor.brush;
    sizeText.textContent = `${editor.brush} px`;
    opacity.value = Math.round(overlay.opacity * 100);
    $("tool-filled").setAttribute("aria-pressed", overlay.filled);
    $("tool-heat").setAttribute("aria-pressed", layers.heat === "probability");
    $("tool-look").setAttribute("aria-pressed", layers.heat === "grad-cam");
  };
  const showLabels = () => labels.replaceChildren(
    ...folder.labels.map(({ number, name, colour }) => {
      const swatch = h("span", { class: "swatch" });
      swatch.style.background = colour;
      return h("button", { type: "button", class: "tool", role: "radio", "aria-checked": String(number === editor.label), onclick: () => editor.setLabel(number) },
        swatch, h("span", {}, name), number < 10 ? h("kbd", {}, String(number)) : null);
    }),
    h("button", { type: "button", class: "tool quiet", onclick: addLabel }, "+ Label"),
  );
  ["tool", "brush"].forEach((kind) => editor.on(kind, show));
  editor.on("label", showLabels);
  folder.on("labels", showLabels);
  picture.on("window", () => {
    windowText.textContent = picture.changed ? `Window ${picture.window}, level ${Math.round(picture.level)} · W resets` : "";
  });
  overlay.on("look", show);
  show();
  showLabels();
}
