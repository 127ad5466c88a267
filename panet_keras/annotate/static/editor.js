// The frame in work: its mask, label, tool and brush. Emits "stroke" (mask, name) when one has ended, "tool",
// "brush", "label", "drawing" (true or false), "sketch" (points, closed).

import { Emitter } from "./emitter.js";
import * as edits from "./edits.js";
import { union } from "./mask.js";
import { recall, remember } from "./settings.js";
import { makeTools } from "./tools.js";

const LARGEST_BRUSH = 400;

export class Editor extends Emitter {
  #before = null; // the mask when the stroke began
  #changed = null;

  constructor(overlay, view) {
    super();
    Object.assign(this, { overlay, view, frame: null, mask: null, label: 1, writable: false, waiting: false });
    this.brush = recall("brush", 12);
    this.tools = makeTools(this);
    this.tool = recall("tool", "brush") in this.tools ? recall("tool", "brush") : "brush";
  }

  /** Another frame; what was begun on the last one is given up, so `end` it before. */
  load(frame, mask, writable) {
    this.tools[this.tool].cancel();
    this.#before = this.#changed = null;
    Object.assign(this, { frame, mask, writable, waiting: false });
    this.overlay.show(mask);
  }

  /** Another mask of the same frame: of the server, of an undo. */
  replace(mask) {
    this.#before = this.#changed = null;
    Object.assign(this, { mask, waiting: false });
    this.overlay.mask = mask;
    this.overlay.redraw();
  }

  get drawing() {
    return this.#before !== null || this.tools.polygon.points.length > 0;
  }

  setTool(name) {
    this.end();
    remember("tool", (this.tool = name));
    this.emit("tool");
  }

  setBrush(diameter) {
    remember("brush", (this.brush = Math.min(LARGEST_BRUSH, Math.max(1, Math.round(diameter)))));
    this.emit("brush");
  }

  /** One step larger or smaller: a pixel at first, a fifth later. */
  stepBrush(direction) {
    this.setBrush(this.brush + direction * Math.max(1, Math.round(this.brush / 6)));
  }

  setLabel(number) {
    this.label = number;
    this.emit("label");
  }

  /** Whether a mask may be drawn on; says why not. */
  #open() {
    if (!this.writable) this.emit("locked");
    else if (this.waiting) this.emit("waiting"); // for another mask of this frame
    else if (this.overlay.hidden || this.overlay.instead) this.emit("covered");
    else return true;
    return false;
  }

  down(point, options) {
    if (!this.#open()) return;
    this.#before ??= this.mask.copy();
    this.tools[this.tool].down(point, options);
    if (this.tool === "polygon" && this.#changed === null) this.#before = null;
    this.emit("drawing", this.drawing);
  }

  move(point) {
    if (this.writable) this.tools[this.tool].move(point);
  }

  hover(point) {
    this.tools[this.tool].hover?.(point);
  }

  up() {
    this.tools[this.tool].up();
    this.#before = null;
    this.emit("drawing", this.drawing);
  }

  /** Ends what was begun, as if the button had been let go: a stroke, or a polygon of three corners. */
  end() {
    if (!this.close()) this.up();
  }

  /** Takes back what the last press has begun: of a polygon its corner, else the whole stroke. */
  takeBack() {
    if (this.tool !== "polygon") return this.cancelStroke();
    this.tools.polygon.back();
    this.emit("drawing", this.drawing);
  }

  cancelStroke() {
    this.tools[this.tool].cancel();
    if (this.#before && this.#changed) this.replace(this.#before);
    this.#before = this.#changed = null;
    this.emit("drawing", this.drawing);
  }

  /** Closes a polygon that was begun; false where there is none. */
  close() {
    return this.tool === "polygon" && this.tools.polygon.close();
  }

  /** grow, shrink, fillHoles, keepLargest, smooth or clear: of the label in hand, else of what is there. */
  edit(name) {
    if (!this.#open()) return;
    if (this.#before) this.end();
    const present = this.overlay.colours;
    const labels = this.mask.has(this.label) ? [this.label] : [...present.keys()].filter((one) => this.mask.has(one));
    const before = this.mask.copy();
    for (const label of labels) this.touch(edits[name](this.mask, label));
    if (this.#changed && this.mask.equals(before)) this.#changed = null;
    this.finish(name);
  }

  // What tools need of their surface.
  touch(area) {
    if (!area) return;
    this.#changed = union(this.#changed, area);
    this.overlay.touch(area);
  }

  finish(name) {
    const changed = this.#changed;
    this.#before = this.#changed = null;
    if (changed) this.emit("stroke", this.mask.copy(), name);
  }

  sketch(points, closed) {
    this.emit("sketch", points, closed);
  }
}
