/** Says what happened to whoever asked: `on(kind, hear)`, `emit(kind, ...values)`, `await next(kind)`. */
export class Emitter {
  #hear = new Map();

  on(kind, hear) {
    this.#hear.set(kind, [...(this.#hear.get(kind) || []), hear]);
  }

  next(kind) {
    return new Promise((resolve) => {
      const hear = () => {
        this.#hear.set(kind, this.#hear.get(kind).filter((other) => other !== hear));
        resolve();
      };
      this.on(kind, hear);
    });
  }

  emit(kind, ...values) {
    (this.#hear.get(kind) || []).forEach((hear) => hear(...values));
  }
}
