// What a drag or a click draws. A tool gets points in the picture and gives the rectangles that changed to
// `surface.touch`; `surface.finish(name)` ends a stroke, which is then saved.

import { drawSegment, fillPolygon } from "./shapes.js";

/** Surface = {mask, label, brush, view, touch(area), finish(name), sketch(points, closed)} */
class Brush {
  constructor(surface, erases) {
    Object.assign(this, { surface, erases, last: null });
  }

  down(point, { subtract }) {
    this.last = point;
    this.value = this.erases || subtract ? 0 : this.surface.label;
    this.move(point);
  }

  move(point) {
    if (!this.last) return;
    const { mask, brush } = this.surface;
    this.surface.touch(drawSegment(mask, this.last, point, brush, this.value));
    this.last = point;
  }

  up() {
    if (!this.last) return;
    this.last = null;
    this.surface.finish(this.value ? "brush" : "eraser");
  }

  cancel() {
    this.last = null;
  }
}

class Outline {
  constructor(surface) {
    Object.assign(this, { surface, points: null });
  }

  down(point, { subtract }) {
    this.points = [point];
    this.value = subtract ? 0 : this.surface.label;
  }

  move(point) {
    if (!this.points) return;
    this.points.push(point);
    this.surface.sketch(this.points, true);
  }

  up() {
    if (!this.points) return;
    const { points } = this;
    this.cancel();
    if (points.length < 3) return;
    this.surface.touch(fillPolygon(this.surface.mask, points, this.value));
    this.surface.finish("outline");
  }

  cancel() {
    this.points = null;
    this.surface.sketch(null);
  }
}

const CLOSE = 10; // pixels of the screen within which a click on the first corner closes

class Polygon {
  constructor(surface) {
    Object.assign(this, { surface, points: [], subtract: false });
  }

  down(point, { subtract }) {
    if (this.points.length > 2 && this.#near(point, this.points[0])) return this.close();
    // The second click of a double click lies on the corner that the first has set.
    if (this.points.length > 2 && this.#near(point, this.points.at(-1), 4)) return this.close();
    if (!this.points.length) this.subtract = subtract;
    this.points.push(point);
    this.surface.sketch(this.points, false);
  }

  move() {}

  hover(point) {
    if (this.points.length) this.surface.sketch([...this.points, point], false);
  }

  up() {}

  #near(one, other, distance = CLOSE) {
    return Math.hypot(one[0] - other[0], one[1] - other[1]) * this.surface.view.scale <= distance;
  }

  /** Fills what was clicked; false where that is nothing yet. */
  close() {
    if (!this.points.length) return false;
    const { points } = this;
    this.cancel();
    if (points.length > 2) {
      this.surface.touch(fillPolygon(this.surface.mask, points, this.subtract ? 0 : this.surface.label));
      this.surface.finish("polygon");
    }
    return true;
  }

  /** Takes the last corner back. */
  back() {
    this.points.pop();
    this.surface.sketch(this.points.length ? this.points : null, false);
  }

  cancel() {
    this.points = [];
    this.surface.sketch(null);
  }
}

export function makeTools(surface) {
  return {
    brush: new Brush(surface, false),
    eraser: new Brush(surface, true),
    outline: new Outline(surface),
    polygon: new Polygon(surface),
  };
}
