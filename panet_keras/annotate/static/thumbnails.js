// Thumbnails as blobs: a few requests at a time, the last few hundred kept.

const AT_ONCE = 4;
const KEPT = 400;

export class Thumbnails {
  #kept = new Map(); // id -> {version, url}
  #waiting = new Map(); // id -> {frame, images}
  #running = 0;

  constructor(api) {
    this.api = api;
  }

  /** Sets an image's source, at once where it is kept, else when it has come. */
  into(image, frame) {
    image.dataset.id = frame.id;
    const kept = this.#kept.get(frame.id);
    if (kept) {
      image.src = kept.url;
      this.#kept.delete(frame.id);
      this.#kept.set(frame.id, kept);
    } else image.removeAttribute("src");
    if (kept?.version === frame.version) return;
    const images = this.#waiting.get(frame.id)?.images || new Set();
    // The last asked for comes first: it is what the person looks at.
    this.#waiting.delete(frame.id);
    this.#waiting.set(frame.id, { frame, images: images.add(image) });
    this.#next();
  }

  async #next() {
    if (this.#running >= AT_ONCE || !this.#waiting.size) return;
    const [id, { frame, images }] = [...this.#waiting].at(-1);
    this.#waiting.delete(id);
    // Scrolled away meanwhile: the image shows another frame now.
    const wanted = [...images].filter((image) => image.isConnected && image.dataset.id === id);
    if (wanted.length) {
      this.#running++;
      try {
        const path = `thumbnail?v=${encodeURIComponent(frame.version)}`;
        const url = URL.createObjectURL(await this.api.picture(id, path));
        this.#keep(id, { version: frame.version, url });
        wanted.forEach((image) => image.dataset.id === id && (image.src = url));
      } catch {
        // The cell's text says the state; the next change asks again.
      }
      this.#running--;
    }
    this.#next();
  }

  #keep(id, entry) {
    const last = this.#kept.get(id);
    if (last) URL.revokeObjectURL(last.url);
    this.#kept.delete(id);
    this.#kept.set(id, entry);
    for (const [old, { url }] of this.#kept) {
      if (this.#kept.size <= KEPT) return;
      this.#kept.delete(old);
      URL.revokeObjectURL(url);
    }
  }
}
