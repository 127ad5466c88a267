// The work on one frame after the other: showing, saving, deciding, going on. Emits "shown" (frame), "conflict" (id or null).

import { Emitter } from "./emitter.js";
import { isOpen, nameOf } from "./folder.js";
import { Mask } from "./mask.js";
import { say, sayError } from "./messages.js";
import { recall, remember } from "./settings.js";
import { Timeline } from "./timeline.js";

const AHEAD = 3;
const SOON = 500; // milliseconds for which a decision waits for its picture

export class Session extends Emitter {
  #asked = 0;
  #renewing = null; // the newest description whose mask is on its way
  #showing = null; // resolves when the frame that is wanted is shown
  #stale = false; // the server has another mask of the frame in work
  #own = new Set(); // "id version" that this page made
  #timeline = new Timeline();

  constructor(parts) {
    super();
    Object.assign(this, parts, { id: null, wanted: null });
    this.editor.on("stroke", (mask, name) => this.#stroke(mask, name));
    this.editor.on("drawing", (drawing) => !drawing && this.#refresh());
    this.saver.on("saved", (id, answer, step) => this.#saved(id, answer, step));
    this.saver.on("conflict", (id) => this.#conflict(id));
    this.saver.on("failing", (id, error) => this.#failing(id, error));
    this.saver.on("recovered", (id) => say(`${nameOf(this.folder.frames.get(id))} is saved now.`));
    this.saver.on("refused", (id, error) => this.#refused(id, error));
  }

  get frame() {
    return this.folder.frames.get(this.id);
  }

  /** The frame of last time, else the first that is not done. */
  start() {
    if (this.id && this.frame) return this.show(this.id);
    const last = recall(`last ${this.folder.output}`, null);
    const ids = this.queue.ids;
    const open = ids.find((id) => isOpen(this.folder.frames.get(id)));
    const id = this.folder.frames.has(last) ? last : open ?? ids[0];
    return id && this.show(id);
  }

  show(id) {
    return (this.#showing = this.#show(id));
  }

  async #show(id) {
    const asked = ++this.#asked;
    this.wanted = id;
    const frame = this.folder.frames.get(id);
    try {
      const [bitmap, { mask, version }] = await this.#load(frame);
      if (asked !== this.#asked) return;
      // What is begun on the last picture is not lost; it may be this one.
      this.editor.end();
      const newest = this.saver.unsaved(id)?.copy() || mask;
      this.id = id;
      this.#stale = false;
      remember(`last ${this.folder.output}`, id);
      this.view.setSize(newest.width, newest.height);
      if (bitmap) this.picture.show(bitmap);
      this.editor.load(frame, newest, bitmap !== null);
      this.#timeline.forget();
      this.#timeline.begin(newest);
      this.saver.saw(id, version);
      this.emit("shown", frame);
      this.emit("conflict", this.saver.conflict(id) ? id : null);
      this.#ahead();
    } catch (error) {
      if (asked !== this.#asked || (await this.#turnedOut(frame))) return;
      this.wanted = this.id;
      sayError(error);
    }
  }

  /** Whether a frame that was well until its pixels were asked for is broken; it is then shown as such. */
  async #turnedOut({ id, state }) {
    const frame = await this.api.frame(id).catch(() => ({}));
    if (frame.state !== "unreadable" || state === "unreadable") return false;
    this.folder.update(frame);
    await this.show(id);
    return true;
  }

  async #load(frame) {
    if (frame.state === "unreadable") {
      return [null, { mask: new Mask(1, 1), version: frame.version }];
    }
    const unsaved = this.saver.unsaved(frame.id);
    const mask = unsaved ? { mask: unsaved.copy(), version: this.saver.version(frame.id) } : this.assets.mask(frame);
    return Promise.all([this.assets.picture(frame), mask]);
  }

  #ahead() {
    const { frames } = this.folder;
    const ids = [...this.queue.next(this.id, AHEAD), this.queue.neighbour(this.id, 1), this.queue.neighbour(this.id, -1)];
    ids.filter(Boolean).map((id) => frames.get(id)).filter(({ state }) => state !== "unreadable").forEach((frame) => this.assets.ahead(frame));
  }

  go(by) {
    // From the one that is on its way, so that no press of a key is lost.
    const id = this.queue.neighbour(this.wanted, by);
    return id && this.show(id);
  }

  goOn() {
    const [id] = this.queue.next(this.id);
    if (id) return this.show(id);
    const [open] = this.queue.filter === "all" ? [] : [...this.folder.frames.values()].filter(isOpen);
    say(open ? "Nothing left in this list; others are still to do." : "All pictures are done.");
  }

  #stroke(mask, name) {
    this.saver.stroke(this.id, mask, name);
    this.#timeline.stroke(mask);
    this.#guess(this.id, { state: "draft", labels: mask.labels });
  }

  /** Shows at once what the server will say in a moment. */
  #guess(id, changes) {
    this.folder.update({ ...this.folder.frames.get(id), ...changes });
  }

  /** accepted, normal or rejected; then on to the next. */
  async decide(state) {
    if (this.wanted !== this.id && !(await this.#shownSoon())) return;
    const { id, frame } = this;
    if (!frame || frame.state === "unreadable") return;
    if (this.saver.conflict(id)) return say("First choose which mask stays.");
    this.editor.end();
    if (state === "accepted" && this.editor.mask.empty) {
      return say("There is nothing drawn. N says that there is no lesion.");
    }
    const changed = frame.state === "draft" || frame.state === "corrected" || this.saver.busy(id);
    this.saver.decide(id, state);
    this.#timeline.forget(); // the next undo takes the decision back
    this.#guess(id, { state: state === "accepted" && changed ? "corrected" : state });
    this.goOn();
  }

  // Nothing is decided on a picture that is not on the screen, and no key is lost because one is a moment late.
  async #shownSoon() {
    const [wanted, pressed] = [this.wanted, performance.now()];
    await this.#showing;
    if (this.wanted !== wanted || this.id !== wanted) return false;
    if (performance.now() - pressed < SOON) return true;
    say("The picture came late: look at it, then press again.");
    return false;
  }

  /** Proposals for all others; what is drawn is accepted first. */
  async propose() {
    if (this.wanted !== this.id && !(await this.#shownSoon())) return;
    const { id, frame, folder } = this;
    if (folder.model.error) return sayError({ message: `The model cannot be used: ${folder.model.error}` });
    if (!folder.model.ready) return say("The model is still loading; go on drawing.");
    this.editor.end();
    const begun = frame && (frame.state === "draft" || this.saver.busy(id)) && !this.editor.mask.empty;
    if (begun && !this.saver.conflict(id)) this.decide("accepted");
    try {
      // Of other pictures, too: the only lesion may be one that was accepted a moment ago.
      await this.saver.idle();
      const { proposing } = await this.api.post("propose", id ? { to: id } : {});
      folder.set("progress", { ...folder.progress, proposing });
    } catch (error) {
      if (error.status === 409) say("Draw and accept one lesion first; the model learns from it.");
      else sayError(error);
    }
  }

  undo() {
    if (this.editor.drawing) return this.editor.takeBack();
    if (this.saver.conflict(this.id)) return say("First choose which mask stays.");
    this.#move(-1);
  }

  redo() {
    if (!this.editor.drawing && !this.saver.conflict(this.id)) this.#move(1);
  }

  // A stroke drawn on a mask that is no longer the one would bring back what was undone.
  #move(by) {
    const mask = this.#timeline.go(by);
    if (mask) this.editor.replace(mask);
    else if (this.saver.offline) return say("Only the server knows what was there before, and it cannot be reached.");
    else this.editor.waiting = true;
    if (by < 0) this.saver.undo(this.id, mask);
    // The server may never have had the stroke that was undone: what the page knows it draws again.
    else if (mask) this.saver.stroke(this.id, mask, "redo");
    else this.saver.redo(this.id);
  }

  #saved(id, answer, step) {
    this.#own.add(`${id} ${answer.version}`);
    // While more is under way the frame's description is older than what is on the screen.
    const frame = answer.frame && !this.saver.busy(id) ? answer.frame : null;
    if (id === this.id && step.kind !== "stroke") return this.#renew(frame || this.frame);
    if (frame) this.folder.update(frame);
    if (id === this.id) this.#refresh();
  }

  #conflict(id) {
    const text = `${nameOf(this.folder.frames.get(id))} was changed in another window.`;
    if (id === this.id) this.emit("conflict", id);
    else say(text, { stays: true, action: ["Show", () => this.show(id)] });
    this.api.frame(id).then((frame) => this.folder.update(frame), () => {});
  }

  #failing(id, error) {
    const name = nameOf(this.folder.frames.get(id));
    const mend = `– ${error.mend || "look at the program’s terminal"}. It is kept here and tried again; the other pictures go on.`;
    say(`${name} could not be saved: ${error.message}`, { mend, stays: true, action: ["Try again", () => this.saver.wake()] });
  }

  async #refused(id, error) {
    sayError(error);
    try {
      const frame = await this.api.frame(id);
      if (id === this.id) this.#renew(frame);
      else this.folder.update(frame);
    } catch {
      // Offline again: what holds comes with the connection.
    }
  }

  /** An event told a frame's newest description. */
  told(kind, frame, by) {
    const own = this.saver.busy(frame.id) || this.#own.has(`${frame.id} ${frame.version}`);
    if (this.saver.busy(frame.id)) return;
    if (frame.id === this.id && own && this.#renewing) return;
    if (frame.id !== this.id || own || frame.version === this.saver.version(this.id) || this.saver.conflict(frame.id)) {
      return this.folder.update(frame);
    }
    if (kind === "mask") say(`Changed ${by ? `by ${by}` : "in another window"}.`);
    if (kind === "proposed" && frame.changed) say(`New proposal; ${percent(frame.changed)} of it changed.`);
    this.#renew(frame);
  }

  /** First the newest mask of the frame in work, then the words: what they say must be what is on the screen. */
  async #renew(frame) {
    const renewing = (this.#renewing = {});
    this.#stale = true;
    await this.#refresh(frame);
    if (renewing !== this.#renewing) return; // a newer one is on its way
    this.#renewing = null;
    this.folder.update(frame);
    if (frame.id === this.id) this.emit("shown", frame);
  }

  /** The newest mask of the frame in work, unless a stroke is being drawn or saved. */
  async #refresh(frame = this.frame) {
    const { id } = this;
    if (!this.#stale || this.editor.drawing || this.saver.busy(id) || this.saver.conflict(id)) return;
    this.#stale = false;
    try {
      const { mask, version } = await this.assets.mask(frame);
      if (this.id !== id) return;
      if (this.editor.drawing || this.saver.busy(id)) {
        this.#stale = true;
        return;
      }
      this.saver.saw(id, version);
      this.editor.replace(mask);
      this.#timeline.begin(mask);
    } catch (error) {
      sayError(error);
    }
  }

  /** After the connection was gone: everything may be newer. */
  caughtUp() {
    if (!this.id || !this.frame) return this.start();
    const seen = this.frame.version === this.saver.version(this.id) && !this.editor.waiting;
    if (this.saver.busy(this.id) || seen) return;
    return this.#renew(this.frame);
  }

  async settle(mine) {
    const { id } = this;
    try {
      const theirs = await this.assets.newest(id);
      this.saver.settle(id, mine, theirs.version);
      if (!mine) this.editor.replace(theirs.mask);
      this.#timeline.forget();
      this.#timeline.begin(theirs.mask); // undo brings theirs back
      if (mine) this.#timeline.stroke(this.editor.mask.copy());
      this.emit("conflict", null);
    } catch (error) {
      sayError(error);
    }
  }
}

export function percent(share) {
  return `${share > 0 && share < 0.01 ? "less than 1" : Math.round(100 * share)} %`;
}
