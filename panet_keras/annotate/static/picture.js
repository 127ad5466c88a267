// The picture's canvas, with window and level: grey values from level - window / 2 to level + window / 2 fill the
// range from black to white. Kept from picture to picture.

import { Emitter } from "./emitter.js";

const WHOLE = { window: 255, level: 127.5 };

export class Picture extends Emitter {
  #shown = false;
  #pixels = null; // read back only once a window is set; until then the canvas has the picture as it is
  #asked = false;

  constructor(canvas) {
    super();
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    Object.assign(this, WHOLE);
  }

  get changed() {
    return this.window !== WHOLE.window || this.level !== WHOLE.level;
  }

  show(bitmap) {
    // Not kept: of large pictures it is closed as soon as the neighbours have come.
    this.#shown = true;
    this.#pixels = null;
    [this.canvas.width, this.canvas.height] = [bitmap.width, bitmap.height];
    this.context.drawImage(bitmap, 0, 0);
    if (this.changed) this.#draw();
  }

  setWindow(window, level) {
    this.window = Math.round(Math.min(510, Math.max(4, window)));
    this.level = Math.round(Math.min(255, Math.max(0, level)) * 2) / 2;
    this.emit("window");
    if (this.#asked) return;
    this.#asked = true;
    requestAnimationFrame(() => {
      this.#asked = false;
      this.#draw();
    });
  }

  resetWindow() {
    this.setWindow(WHOLE.window, WHOLE.level);
  }

  #draw() {
    if (!this.#shown) return;
    const { width, height } = this.canvas;
    this.#pixels ??= this.context.getImageData(0, 0, width, height);
    const low = this.level - this.window / 2;
    const table = Uint8ClampedArray.from({ length: 256 }, (_, value) => ((value - low) * 255) / this.window);
    const shown = new ImageData(width, height);
    const [from, to] = [this.#pixels.data, shown.data];
    for (let i = 0; i < from.length; i += 4) {
      to[i] = table[from[i]];
      to[i + 1] = table[from[i + 1]];
      to[i + 2] = table[from[i + 2]];
      to[i + 3] = 255;
    }
    this.context.putImageData(shown, 0, 0);
  }
}
