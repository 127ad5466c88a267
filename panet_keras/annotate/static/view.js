// Where the picture lies on the stage: scale and shift, as a CSS transform of the sheet that holds both canvases.

import { Emitter } from "./emitter.js";

const MARGIN = 12;
const LARGEST = 64;

export class View extends Emitter {
  constructor(stage, sheet) {
    super();
    Object.assign(this, { stage, sheet, scale: 1, x: 0, y: 0, width: 1, height: 1, fitted: true });
    new ResizeObserver(() => (this.fitted ? this.fit() : this.#place())).observe(stage);
  }

  /** Another picture: fitted, unless it is of the same size and the person has zoomed. */
  setSize(width, height) {
    const same = width === this.width && height === this.height;
    [this.width, this.height] = [width, height];
    if (same && !this.fitted) this.#place();
    else this.fit();
  }

  #fitting() {
    const { clientWidth, clientHeight } = this.stage;
    const fits = Math.min((clientWidth - 2 * MARGIN) / this.width, (clientHeight - 2 * MARGIN) / this.height);
    return Math.max(0.01, fits);
  }

  fit() {
    this.fitted = true;
    this.scale = this.#fitting();
    this.x = (this.stage.clientWidth - this.width * this.scale) / 2;
    this.y = (this.stage.clientHeight - this.height * this.scale) / 2;
    this.#place();
  }

  /** Zooms about a place of the stage (its middle without one), which stays where it is. */
  zoom(factor, at = [this.stage.clientWidth / 2, this.stage.clientHeight / 2]) {
    const fitting = this.#fitting(); // of a tiny picture more than the largest
    const scale = Math.min(Math.max(LARGEST, fitting), Math.max(fitting / 2, this.scale * factor));
    this.x = at[0] - ((at[0] - this.x) * scale) / this.scale;
    this.y = at[1] - ((at[1] - this.y) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.#place();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.fitted = false;
    this.#place();
  }

  #place() {
    // A part of the picture always stays in sight.
    const kept = 80;
    this.x = Math.min(this.stage.clientWidth - kept, Math.max(kept - this.width * this.scale, this.x));
    this.y = Math.min(this.stage.clientHeight - kept, Math.max(kept - this.height * this.scale, this.y));
    this.sheet.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    this.sheet.classList.toggle("coarse", this.scale > 8);
    this.emit("moved");
  }

  /** Place of a mouse event on the stage. */
  onStage(event) {
    const { left, top } = this.stage.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  /** [x, y] in the picture of a place on the stage. */
  toPicture([x, y]) {
    return [(x - this.x) / this.scale, (y - this.y) / this.scale];
  }

  toStage([x, y]) {
    return [x * this.scale + this.x, y * this.scale + this.y];
  }
}
