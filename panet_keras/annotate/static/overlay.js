// The mask's canvas: fill and outline in the labels' colours, or a heat map below the outline. Only the
// rectangle that changed is drawn, once a frame of the display.

import { rgb } from "./dom.js";
import { Emitter } from "./emitter.js";
import { heatColours } from "./heat.js";
import { union } from "./mask.js";
import { recall, remember } from "./settings.js";

export class Overlay extends Emitter {
  #dirty = null;
  #asked = false;

  constructor(canvas, view) {
    super();
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.view = view;
    this.filled = recall("filled", true);
    this.opacity = recall("opacity", 0.35);
    Object.assign(this, { mask: null, instead: null, heat: null, hidden: false, colours: new Map(), thick: 1 });
    view.on("moved", () => this.#thickness() !== this.thick && this.redraw());
  }

  /** Shows a Mask, which may be changed afterwards: say so with `touch`. */
  show(mask) {
    [this.canvas.width, this.canvas.height] = [mask.width, mask.height];
    Object.assign(this, { mask, instead: null, heat: null });
    this.#dirty = null;
    this.touch(mask.bounds());
  }

  setColours(labels) {
    this.colours = new Map(labels.map(({ number, colour }) => [number, rgb(colour)]));
    this.redraw();
  }

  setFilled(filled) {
    remember("filled", (this.filled = filled));
    this.emit("look");
    this.redraw();
  }

  setOpacity(opacity) {
    remember("opacity", (this.opacity = Math.min(1, Math.max(0.05, Math.round(opacity * 20) / 20))));
    this.emit("look");
    this.redraw();
  }

  /** Another mask's bytes in place of the mask, a heat map below the outline, or nothing at all. */
  set(changes) {
    Object.assign(this, changes);
    this.emit("look");
    this.redraw();
  }

  redraw() {
    if (this.mask) this.touch([0, 0, this.mask.width, this.mask.height]);
  }

  touch(area) {
    this.#dirty = union(this.#dirty, area);
    if (this.#asked || !this.#dirty) return;
    this.#asked = true;
    requestAnimationFrame(() => {
      this.#asked = false;
      this.#draw();
    });
  }

  // About a pixel and a half of the screen, however far the picture is shrunk.
  #thickness() {
    return Math.min(4, Math.max(1, Math.round(1.5 / this.view.scale)));
  }

  #draw() {
    this.thick = this.#thickness();
    const reach = this.thick;
    const area = this.mask.clip([this.#dirty[0] - reach, this.#dirty[1] - reach, this.#dirty[2] + reach, this.#dirty[3] + reach]);
    this.#dirty = null;
    if (!area) return;
    const [left, top, right, bottom] = area;
    const image = new ImageData(right - left, bottom - top);
    if (!this.hidden) this.#fill(new Uint32Array(image.data.buffer), area);
    this.context.putImageData(image, left, top);
  }

  #fill(pixels, [left, top, right, bottom]) {
    const { width } = this.mask;
    const labels = this.instead || this.mask.data;
    const inside = this.#table(this.filled && !this.heat ? this.opacity : 0);
    const edge = this.#table(1);
    for (let y = top, to = 0; y < bottom; y++) {
      for (let x = left, at = y * width + left; x < right; x++, at++, to++) {
        const label = labels[at];
        if (label && this.#onEdge(labels, at, x, y)) pixels[to] = edge[label];
        else if (this.heat) pixels[to] = heatColours[this.heat[at]];
        else if (label) pixels[to] = inside[label];
      }
    }
  }

  // The picture's own border is an edge, too: a lesion that it cuts stays visible as one.
  #onEdge(labels, at, x, y) {
    const { width, height } = this.mask;
    const label = labels[at];
    for (let reach = 1; reach <= this.thick; reach++) {
      if (x < reach || y < reach || x + reach >= width || y + reach >= height) return true;
      if (labels[at - reach] !== label || labels[at + reach] !== label) return true;
      if (labels[at - reach * width] !== label || labels[at + reach * width] !== label) return true;
    }
    return false;
  }

  #table(opacity) {
    const table = new Uint32Array(256);
    const bytes = new Uint8ClampedArray(table.buffer);
    for (let label = 1; label < 256; label++) {
      const [red, green, blue] = this.colours.get(label) || [255, 255, 255];
      bytes.set([red, green, blue, opacity * 255], 4 * label);
    }
    return table;
  }
}
