// Everything a person can do, each with its key: the keys, the buttons' hints and the help sheet come from here.

import { $ } from "./dom.js";

export function makeCommands({ session, editor, view, picture, overlay, layers, cursor, queue, ui }) {
  const table = {
    Pictures: [
      ["next", "ArrowRight", "next picture", () => session.go(1), { repeats: true }],
      ["previous", "ArrowLeft", "previous picture", () => session.go(-1), { repeats: true }],
      ["goOn", "j", "next that is not done", () => session.goOn()],
      ["overview", "t", "all pictures as a table", () => ui.toggleOverview()],
      ["order", "d", "order: doubt, name, patient", () => ui.nextOrder()],
    ],
    Decide: [
      ["accept", "Enter", "accept and go on", () => editor.close() || session.decide("accepted")],
      ["normal", "n", "no lesion here, go on", () => session.decide("normal")],
      ["reject", "r", "reject: picture is of no use", () => session.decide("rejected")],
      ["propose", "p", "accept, and propose for all others", () => session.propose()],
      ["learn", "Shift+l", "learn from my masks (minutes)", () => ui.learn()],
      ["undo", "Ctrl+z", "undo, also a decision", () => session.undo(), { also: ["z"], repeats: true }],
      ["redo", "Ctrl+y", "redo", () => session.redo(), { also: ["Ctrl+Shift+z", "Shift+z"], repeats: true }],
    ],
    Draw: [
      ["brush", "b", "brush", () => editor.setTool("brush")],
      ["eraser", "e", "eraser", () => editor.setTool("eraser")],
      ["outline", "o", "outline: draw around, it closes by itself", () => editor.setTool("outline")],
      ["polygon", "l", "polygon: click corners, Enter closes", () => editor.setTool("polygon")],
      ["smaller", "[", "smaller brush, down to one pixel", () => editor.stepBrush(-1), { repeats: true }],
      ["larger", "]", "larger brush", () => editor.stepBrush(1), { repeats: true }],
      ["cancel", "Escape", "give up the stroke or polygon", () => ui.escape()],
      ["back", "Backspace", "polygon: last corner back", () => editor.tool === "polygon" && editor.takeBack()],
    ],
    Correct: [
      ["grow", "g", "grow", () => editor.edit("grow"), { repeats: true }],
      ["shrink", "s", "shrink", () => editor.edit("shrink"), { repeats: true }],
      ["fillHoles", "i", "fill holes", () => editor.edit("fillHoles")],
      ["keepLargest", "k", "keep the largest", () => editor.edit("keepLargest")],
      ["smooth", "m", "smooth", () => editor.edit("smooth")],
      ["clear", "Delete", "clear", () => editor.edit("clear")],
    ],
    See: [
      ["filled", "f", "filled or outline only", () => overlay.setFilled(!overlay.filled)],
      ["fainter", ",", "fill fainter", () => overlay.setOpacity(overlay.opacity - 0.05), { repeats: true }],
      ["stronger", ".", "fill stronger", () => overlay.setOpacity(overlay.opacity + 0.05), { repeats: true }],
      ["hide", "q", "hold: without mask", () => layers.hide(true), { up: () => layers.hide(false) }],
      ["before", "v", "hold: before, the model’s proposal", () => layers.showBefore(), { up: () => layers.endBefore() }],
      ["heat", "h", "likelihood of a lesion, as heat", () => layers.toggleHeat("probability")],
      ["look", "c", "explain: where the model looked", () => layers.toggleHeat("grad-cam")],
      ["fit", "0", "whole picture", () => view.fit()],
      ["closer", "+", "closer", () => view.zoom(1.25), { also: ["="], repeats: true }],
      ["farther", "-", "farther", () => view.zoom(0.8), { repeats: true }],
      ["window", "w", "brightness as it was", () => picture.resetWindow()],
      ["brighter", "Shift+ArrowUp", "brighter", () => picture.setWindow(picture.window, picture.level - 5), { repeats: true }],
      ["darker", "Shift+ArrowDown", "darker", () => picture.setWindow(picture.window, picture.level + 5), { repeats: true }],
      ["harder", "Shift+ArrowLeft", "more contrast", () => picture.setWindow(picture.window - 10, picture.level), { repeats: true }],
      ["softer", "Shift+ArrowRight", "less contrast", () => picture.setWindow(picture.window + 10, picture.level), { repeats: true }],
    ],
    "Draw without a mouse": [
      ...moves(cursor, "Alt+", 1, "by a pixel"),
      ...moves(cursor, "Alt+Shift+", 20, "by 20 pixels"),
      ["dab", "x", "draw at the cursor; polygon: a corner", () => dab(editor, cursor, false), { repeats: true }],
      ["unDab", "Shift+x", "take away at the cursor", () => dab(editor, cursor, true), { repeats: true }],
    ],
    "This page": [
      ["help", "?", "this sheet", () => $("help").showModal()],
      ["export", "Shift+e", "export", () => ui.export()],
    ],
  };
  // Nothing is drawn or decided under the table of all pictures: such a key shows the picture first.
  const onPicture = (run) => () => (ui.overviewShown() ? ui.toggleOverview() : run());
  const blind = (group, name) => ["propose", "learn"].includes(name) || !["Decide", "Draw", "Correct", "Draw without a mouse"].includes(group);
  const commands = Object.entries(table).flatMap(([group, rows]) =>
    rows.map(([name, key, text, run, more]) => ({ name, key, text, run: blind(group, name) ? run : onPicture(run), group, ...more })));
  for (let number = 1; number <= 9; number++) {
    const shown = number === 1 ? "1 … 9" : null;
    commands.push({ name: `label${number}`, key: String(number), text: "label", group: "Draw", shown, secret: number > 1, run: () => ui.chooseLabel(number) });
  }
  return commands;
}

function moves(cursor, keys, by, text) {
  const arrows = [["Up", 0, -1], ["Down", 0, 1], ["Left", -1, 0], ["Right", 1, 0]];
  return arrows.map(([name, dx, dy], i) => [
    `cursor${keys}${name}`, `${keys}Arrow${name}`, `cursor ${text}`, () => cursor.by(dx * by, dy * by),
    { repeats: true, secret: i > 0, shown: `${keys.replaceAll("+", " ")}arrows` },
  ]);
}

function dab(editor, cursor, subtract) {
  const point = cursor.point();
  if (editor.tool === "outline") editor.setTool("brush");
  editor.down(point, { subtract });
  editor.up();
}
