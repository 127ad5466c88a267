// Pictures and masks, fetched ahead and kept, oldest out first, so that memory stays flat over any number.

import { decodeGrey } from "./png.js";
import { Mask } from "./mask.js";

const KEPT_BYTES = 192 << 20;

export class Assets {
  #kept = new Map(); // key -> {promise, bytes, drop}

  constructor(api) {
    this.api = api;
  }

  #get(key, bytes, load, drop = () => {}) {
    let entry = this.#kept.get(key);
    if (entry) this.#kept.delete(key);
    else {
      entry = { bytes, drop, promise: load() };
      // What failed is asked for again.
      entry.promise.catch(() => this.#kept.get(key) === entry && this.#kept.delete(key));
    }
    this.#kept.set(key, entry);
    this.#trim();
    return entry.promise;
  }

  #trim() {
    let bytes = 0;
    for (const entry of this.#kept.values()) bytes += entry.bytes;
    for (const [key, entry] of this.#kept) {
      if (bytes <= KEPT_BYTES || this.#kept.size <= 4) return;
      this.#kept.delete(key);
      bytes -= entry.bytes;
      entry.promise.then(entry.drop, () => {});
    }
  }

  /** ImageBitmap of a frame's picture. */
  picture({ id, width, height }) {
    const load = async () => createImageBitmap(await this.api.picture(id), { colorSpaceConversion: "none" });
    return this.#get(`picture ${id}`, 4 * width * height, load, (bitmap) => bitmap.close());
  }

  /** {mask: Mask (a copy of one's own), version} as the frame's description has it. */
  async mask(frame) {
    if (!frame.labels.length) return { mask: new Mask(frame.width, frame.height), version: frame.version };
    const key = `mask?v=${encodeURIComponent(frame.version)}`;
    const { mask, version } = await this.#get(`${key} ${frame.id}`, frame.width * frame.height, async () => {
      const { buffer, version } = await this.api.grey(frame.id, key);
      const { width, height, data } = await decodeGrey(buffer);
      return { mask: new Mask(width, height, data), version: version || frame.version };
    });
    return { mask: mask.copy(), version };
  }

  /** The mask as it is on the server now, past everything kept. */
  async newest(id) {
    const { buffer, version } = await this.api.grey(id, "mask");
    const { width, height, data } = await decodeGrey(buffer);
    return { mask: new Mask(width, height, data), version };
  }

  /** Uint8Array [height * width] of a grey picture: proposal, probability, grad-cam. Never kept: the model moves. */
  async grey(id, kind) {
    return (await decodeGrey((await this.api.grey(id, kind)).buffer)).data;
  }

  ahead(frame) {
    this.picture(frame).catch(() => {});
    this.mask(frame).catch(() => {});
  }
}
