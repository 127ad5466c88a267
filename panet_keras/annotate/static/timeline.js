// The masks of the frame in work since it was shown, with a place in them: what undo and redo bring is on the
// screen at once, so that a stroke drawn before the server has answered begins from it.

export class Timeline {
  #masks = [];
  #place = 0;

  /** Begins anew, unless it is the mask that is here already. */
  begin(mask) {
    if (this.#masks[this.#place]?.equals(mask)) return;
    this.#masks = [mask.copy()];
    this.#place = 0;
  }

  /** Another frame, whose mask may be the same. */
  forget() {
    this.#masks = [];
    this.#place = 0;
  }

  stroke(mask) {
    this.#masks.splice(++this.#place, Infinity, mask);
  }

  /** The mask one step back (-1) or on (1), or null where only the server knows it. */
  go(by) {
    const mask = this.#masks[this.#place + by];
    if (mask) this.#place += by;
    return mask?.copy() || null;
  }
}
