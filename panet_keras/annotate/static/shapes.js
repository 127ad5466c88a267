// Strokes and polygons as pixels. Points are [x, y] in the picture, the first pixel's centre at [0.5, 0.5].
// Each function gives the rectangle in which pixels changed, or null.

import { union } from "./mask.js";

/** A round brush drawn from one point to another: all pixels whose centre lies within its radius of the line. */
export function drawSegment(mask, from, to, diameter, value) {
  const radius = diameter / 2;
  const area = mask.clip([
    Math.floor(Math.min(from[0], to[0]) - radius), Math.floor(Math.min(from[1], to[1]) - radius),
    Math.ceil(Math.max(from[0], to[0]) + radius), Math.ceil(Math.max(from[1], to[1]) + radius),
  ]);
  if (!area) return null;
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const length = dx * dx + dy * dy;
  const inside = (x, y) => {
    const px = x + 0.5 - from[0];
    const py = y + 0.5 - from[1];
    const along = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
    return (px - along * dx) ** 2 + (py - along * dy) ** 2 <= radius * radius;
  };
  let changed = null;
  for (let y = area[1]; y < area[3]; y++) {
    // The shape is convex: what lies in it of a row is one run.
    let [start, end] = [area[0], area[2]];
    while (start < end && !inside(start, y)) start++;
    while (end > start && !inside(end - 1, y)) end--;
    if (start < end && mask.setRun(y, start, end, value)) changed = union(changed, [start, y, end, y + 1]);
  }
  return union(changed, drawLine(mask, from, to, value));
}

/** The pixels that a line goes through; a brush of one pixel would fall between centres. */
function drawLine(mask, from, to, value) {
  const steps = Math.max(1, Math.ceil(2 * Math.max(Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1]))));
  let changed = null;
  for (let step = 0; step <= steps; step++) {
    const x = Math.floor(from[0] + ((to[0] - from[0]) * step) / steps);
    const y = Math.floor(from[1] + ((to[1] - from[1]) * step) / steps);
    const pixel = mask.clip([x, y, x + 1, y + 1]);
    if (pixel && mask.setRun(y, x, x + 1, value)) changed = union(changed, pixel);
  }
  return changed;
}

/** A filled polygon. A line that crosses itself leaves no hole (winding rule "nonzero"). */
export function fillPolygon(mask, points, value) {
  let changed = null;
  const ys = points.map((point) => point[1]);
  const last = Math.min(mask.height - 1, Math.floor(Math.max(...ys)));
  for (let y = Math.max(0, Math.floor(Math.min(...ys))); y <= last; y++) {
    const crossings = crossingsOf(points, y + 0.5);
    let winding = 0;
    for (let i = 0; i + 1 < crossings.length; i++) {
      winding += crossings[i][1];
      if (!winding) continue;
      const start = Math.max(0, Math.ceil(crossings[i][0] - 0.5));
      const end = Math.min(mask.width, Math.ceil(crossings[i + 1][0] - 0.5));
      if (start < end && mask.setRun(y, start, end, value)) changed = union(changed, [start, y, end, y + 1]);
    }
  }
  return changed;
}

function crossingsOf(points, y) {
  const crossings = [];
  points.forEach(([x1, y1], i) => {
    const [x2, y2] = points[(i + 1) % points.length];
    if (y1 <= y === y2 <= y) return;
    crossings.push([x1 + ((y - y1) * (x2 - x1)) / (y2 - y1), y2 > y1 ? 1 : -1]);
  });
  return crossings.sort((one, other) => one[0] - other[0]);
}
