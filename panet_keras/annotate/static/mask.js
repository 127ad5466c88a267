// The truth of the page: one byte a pixel, 0 background, else a label's number.

/** A rectangle is [left, top, right, bottom] in pixels, right and bottom outside; null is none. */
export function union(one, other) {
  if (!one || !other) return one || other;
  return [Math.min(one[0], other[0]), Math.min(one[1], other[1]), Math.max(one[2], other[2]), Math.max(one[3], other[3])];
}

export class Mask {
  constructor(width, height, data = new Uint8Array(width * height)) {
    this.width = width;
    this.height = height;
    this.data = data;
  }

  copy() {
    return new Mask(this.width, this.height, this.data.slice());
  }

  equals(other) {
    if (this.width !== other.width || this.height !== other.height) return false;
    return this.data.every((value, i) => value === other.data[i]);
  }

  get empty() {
    return !this.data.some((value) => value !== 0);
  }

  /** Numbers of the labels in it, ascending. */
  get labels() {
    const found = new Uint8Array(256);
    for (let i = 0; i < this.data.length; i++) found[this.data[i]] = 1;
    return [...found.keys()].filter((label) => label && found[label]);
  }

  has(label) {
    return this.data.includes(label);
  }

  /** Cuts a rectangle to the picture; null where nothing is left. */
  clip([left, top, right, bottom]) {
    const cut = [Math.max(0, left), Math.max(0, top), Math.min(this.width, right), Math.min(this.height, bottom)];
    return cut[0] < cut[2] && cut[1] < cut[3] ? cut : null;
  }

  /** Rectangle around a label's pixels (of all labels without one), or null. */
  bounds(label) {
    let [left, top, right, bottom] = [this.width, this.height, 0, 0];
    for (let y = 0, i = 0; y < this.height; y++) {
      for (let x = 0; x < this.width; x++, i++) {
        if (label === undefined ? this.data[i] === 0 : this.data[i] !== label) continue;
        if (x < left) left = x;
        if (x >= right) right = x + 1;
        if (y < top) top = y;
        bottom = y + 1;
      }
    }
    return right ? [left, top, right, bottom] : null;
  }

  /** Sets a run of a row from x = start to end (outside), and says whether a pixel changed. */
  setRun(y, start, end, value) {
    let changed = false;
    const row = y * this.width;
    for (let i = row + start; i < row + end; i++) {
      if (this.data[i] === value) continue;
      this.data[i] = value;
      changed = true;
    }
    return changed;
  }
}
