// The brush as large as it draws, the line of a polygon or an outline, and a cursor that keys move.

import { $, svg } from "./dom.js";

export class Cursor {
  #place = null;
  #sketched = null; // [points, closed]
  #asked = false;
  #at = null; // place in the picture that the keys have moved to

  constructor({ view, editor }) {
    Object.assign(this, { view, editor, element: $("cursor"), sketch: $("sketch") });
    editor.on("brush", () => this.draw());
    editor.on("tool", () => this.draw());
    editor.on("sketch", (points, closed) => this.#sketch(points && [points, closed]));
    view.on("moved", () => {
      this.draw();
      if (this.#sketched) this.#sketch(this.#sketched);
    });
  }

  /** The pointer has moved to a place on the stage; null: it is gone. */
  to(place, event) {
    this.#place = event?.pointerType === "touch" ? null : place;
    this.#at = null;
    this.draw();
  }

  /** Keys move by pixels of the picture. */
  by(dx, dy) {
    const { width, height } = this.view;
    const [x, y] = this.point();
    this.#at = [Math.min(width - 0.5, Math.max(0.5, x + dx)), Math.min(height - 0.5, Math.max(0.5, y + dy))];
    this.draw();
  }

  /** Place in the picture: of the keys, else of the pointer, else its middle. */
  point() {
    if (this.#at) return this.#at;
    const middle = [Math.floor(this.view.width / 2) + 0.5, Math.floor(this.view.height / 2) + 0.5];
    return this.#place ? this.view.toPicture(this.#place) : middle;
  }

  draw() {
    const { tool, brush } = this.editor;
    const place = this.#at ? this.view.toStage(this.#at) : this.#place;
    const round = tool === "brush" || tool === "eraser";
    this.element.hidden = !place || (!round && !this.#at);
    if (this.element.hidden) return;
    const size = Math.max(3, (round ? brush : 1) * this.view.scale);
    let [x, y] = [place[0] - size / 2, place[1] - size / 2];
    if (round && brush === 1) {
      // One pixel is drawn where the pointer is in it, not around it.
      [x, y] = this.view.toStage(this.view.toPicture(place).map(Math.floor));
    }
    Object.assign(this.element.style, { width: `${size}px`, height: `${size}px`, transform: `translate(${x}px, ${y}px)` });
    this.element.classList.toggle("square", brush === 1 || !round);
  }

  // Once a frame of the display: a mouse tells of eight places in that time, and an outline has thousands.
  #sketch(sketched) {
    this.#sketched = sketched;
    if (this.#asked) return;
    this.#asked = true;
    requestAnimationFrame(() => {
      this.#asked = false;
      this.#drawSketch();
    });
  }

  #drawSketch() {
    if (!this.#sketched) return this.sketch.replaceChildren();
    const [points, closed] = this.#sketched;
    const places = points.map((point) => this.view.toStage(point));
    const text = places.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
    const line = (name) => svg(closed ? "polygon" : "polyline", { points: text, class: name });
    const corners = closed ? [] : places.map(([x, y]) => svg("circle", { cx: x, cy: y, r: 4 }));
    this.sketch.replaceChildren(line("under"), line("line"), ...corners);
  }
}
