// How well the model does on masks that it has not seen: leave-one-out Dice over the number of masks.

import { h, svg } from "./dom.js";

const [WIDTH, HEIGHT, LEFT, BOTTOM] = [232, 76, 24, 14];

export function drawCurve(container, text, quality) {
  if (!quality.length) {
    text.textContent = "How well the model does is shown here once two lesions are accepted.";
    container.replaceChildren();
    return;
  }
  const [count, dice] = quality.at(-1);
  text.replaceChildren(
    "Model against your masks ",
    h("strong", {}, dice.toFixed(2)),
    h("span", { class: "muted", title: "Leave-one-out: each accepted mask against the model's, made from the others" }, ` Dice, ${count} masks`),
  );
  const most = Math.max(...quality.map(([each]) => each), 2);
  const x = (each) => LEFT + ((WIDTH - LEFT - 6) * (each - 1)) / (most - 1);
  const y = (value) => 6 + (HEIGHT - BOTTOM - 6) * (1 - value);
  const label = (at, where, what, anchor) => svg("text", { x: at, y: where, "text-anchor": anchor }, what);
  const lines = [0, 0.5, 1].flatMap((value) => [
    svg("line", { x1: LEFT, x2: WIDTH, y1: y(value), y2: y(value), class: "rule" }),
    label(LEFT - 4, y(value) + 3.5, String(value), "end"),
  ]);
  const points = quality.map(([each, value]) => `${x(each)},${y(value)}`).join(" ");
  container.replaceChildren(
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `Dice ${dice.toFixed(2)} with ${count} masks` },
      ...lines,
      svg("polyline", { points, class: "curve" }),
      svg("circle", { cx: x(count), cy: y(dice), r: 3, class: "dot" }),
      label(x(1), HEIGHT - 2, "1", "middle"),
      label(x(most), HEIGHT - 2, String(most), "end"),
    ),
  );
}
