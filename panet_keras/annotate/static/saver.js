// Brings every stroke and decision to the server, one after the other for each frame, and keeps what could not
// be sent until it can. Emits "saved" (id, answer), "conflict" (id, mask, body), "refused" (id, error, step),
// "failing" (id, error) where somebody answers and nothing is saved, "recovered" (id) when it can again, and "state".

import { Emitter } from "./emitter.js";
import { Offline } from "./api.js";
import { encodeGrey } from "./png.js";

const RETRY = 1000;
const RETRY_FAILING = 10_000;
const AWAY = [502, 503, 504]; // what a proxy says when the server behind it is gone

export class Saver extends Emitter {
  #steps = new Map(); // id -> steps, the first of them under way
  #versions = new Map(); // id -> version that the person saw, or made
  #conflicts = new Map(); // id -> mask that could not be saved
  #failing = new Map(); // id -> how often the server could not save its first step
  #sleepers = new Set(); // functions that end a pause

  constructor(api, assets) {
    super();
    this.api = api;
    this.assets = assets;
    this.offline = false;
  }

  /** Tries again at once what waits to be tried again. */
  wake() {
    [...this.#sleepers].forEach((wake) => wake());
  }

  /** The version that the person sees now; with steps under way it comes from those. */
  saw(id, version) {
    if (!this.busy(id)) this.#versions.set(id, version);
  }

  version(id) {
    return this.#versions.get(id);
  }

  busy(id) {
    return this.#steps.has(id);
  }

  get pending() {
    let count = 0;
    for (const steps of this.#steps.values()) count += steps.length;
    return count;
  }

  /** Whether strokes here are in conflict with the server's. */
  get conflicts() {
    return this.#conflicts.size;
  }

  /** How many pictures the server could not save though it is there; they are tried again. */
  get failing() {
    return [...this.#failing.values()].filter((tries) => tries > 1).length;
  }

  /** The mask that is newer here than on the server, or null. */
  unsaved(id) {
    if (this.#conflicts.has(id)) return this.#conflicts.get(id);
    return this.#steps.get(id)?.findLast((step) => step.kind !== "state")?.mask || null;
  }

  conflict(id) {
    return this.#conflicts.has(id);
  }

  stroke(id, mask, name) {
    if (this.#conflicts.has(id)) this.#conflicts.set(id, mask);
    else this.#add(id, { kind: "stroke", mask, name });
  }

  /** `mask`: what undo brings, where the page knows it. */
  undo(id, mask) {
    // A stroke that was never sent is simply not sent.
    const steps = this.#steps.get(id);
    if ((this.offline || this.#failing.has(id)) && steps?.length > 1 && steps.at(-1).kind === "stroke") {
      steps.pop();
      this.#tell();
    } else this.#add(id, { kind: "undo", mask });
  }

  redo(id) {
    this.#add(id, { kind: "redo" });
  }

  decide(id, state) {
    this.#add(id, { kind: "state", state });
  }

  /** Ends a conflict: `mine` becomes a stroke on theirs (undo brings theirs back), else theirs stays. */
  settle(id, mine, version) {
    const mask = this.#conflicts.get(id);
    this.#conflicts.delete(id);
    this.#versions.set(id, version);
    if (mine) this.stroke(id, mask, "keep mine");
    this.#tell();
  }

  /** Resolves when nothing is under way any more but what the server cannot save. */
  async idle() {
    while ([...this.#steps.keys()].some((id) => !this.#failing.has(id))) await this.next("state");
  }

  #add(id, step) {
    const steps = this.#steps.get(id);
    if (steps) steps.push(step);
    else {
      this.#steps.set(id, [step]);
      this.#run(id);
    }
    this.#tell();
  }

  #tell() {
    this.emit("state", this.pending, this.offline);
  }

  async #run(id) {
    const steps = this.#steps.get(id);
    while (steps.length) {
      try {
        const answer = await this.#send(id, steps[0]);
        this.offline = false;
        if (this.#failing.get(id) > 1) this.emit("recovered", id);
        this.#failing.delete(id);
        this.#versions.set(id, answer.version);
        const [step] = steps.splice(0, 1);
        if (!steps.length) this.#steps.delete(id);
        this.emit("saved", id, answer, step);
      } catch (error) {
        const away = error instanceof Offline || AWAY.includes(error.status);
        if (!error.judged) {
          this.offline = away;
          if (!away) this.#fails(id, error);
          this.#tell();
          await this.#pause(this.#failing.get(id) > 1 ? RETRY_FAILING : RETRY);
          continue;
        }
        this.#failing.delete(id);
        await this.#refused(id, steps, error);
      }
      this.#tell();
    }
  }

  async #send(id, step) {
    const version = this.#versions.get(id);
    if (step.kind === "stroke") {
      const { data, width, height } = step.mask;
      return this.api.putMask(id, await encodeGrey(data, width, height), version, step.name);
    }
    if (step.kind === "state") {
      const body = { state: step.state, person: this.api.person || null };
      return this.api.post(`frames/${id}/state`, body, version);
    }
    return this.api.post(`frames/${id}/${step.kind}`, {}, version);
  }

  // A conflict may be our own write whose answer was lost when the line broke: then it is no conflict.
  async #refused(id, steps, error) {
    const [step] = steps;
    try {
      if (error.status === 409) {
        if (step.kind === "stroke") {
          const theirs = await this.assets.newest(id);
          if (theirs.mask.equals(step.mask)) return this.#was(id, steps, theirs.version);
        } else if (step.kind === "state") {
          const frame = await this.api.frame(id);
          const marked = ["accepted", "corrected"];
          const same = frame.state === step.state || (marked.includes(step.state) && marked.includes(frame.state));
          if (same) return this.#was(id, steps, frame.version, frame);
        }
      }
    } catch (late) {
      if (!late.judged) return this.#pause(RETRY);
    }
    const mask = steps.some(({ kind }) => kind === "stroke") && this.unsaved(id);
    steps.length = 0;
    this.#steps.delete(id);
    if (mask && error.status === 409) {
      this.#conflicts.set(id, mask);
      this.emit("conflict", id, error);
    } else this.emit("refused", id, error, step);
  }

  #was(id, steps, version, frame) {
    this.#versions.set(id, version);
    const [step] = steps.splice(0, 1);
    if (!steps.length) this.#steps.delete(id);
    this.emit("saved", id, { version, frame }, step);
  }

  // Once may be chance; what fails twice is told, and the other pictures go on.
  #fails(id, error) {
    const tries = (this.#failing.get(id) || 0) + 1;
    this.#failing.set(id, tries);
    if (tries === 2) this.emit("failing", id, error);
  }

  #pause(milliseconds) {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.#sleepers.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, milliseconds);
      this.#sleepers.add(wake);
    });
  }
}
