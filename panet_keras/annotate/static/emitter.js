/** Says what happened to whoever asked: `on(kind, hear)`, `emit(kind, ...values)`. */
export class Emitter {
  #hear = new Map();

  on(kind, hear) {
    this.#hear.set(kind, [...(this.#hear.get(kind) || []), hear]);
  }

  emit(kind, ...values) {
    (this.#hear.get(kind) || []).forEach((hear) => hear(...values));
  }
}
