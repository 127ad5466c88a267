// The folder as the server tells it: frames, labels, progress. Emits "frame" (frame), "frames", "progress",
// "labels", "model", "learning", "quality".

import { Emitter } from "./emitter.js";

const DONE = new Set(["accepted", "corrected", "normal", "rejected"]);

export function isDone(frame) {
  return DONE.has(frame.state);
}

export function isOpen(frame) {
  return !isDone(frame) && frame.state !== "unreadable";
}

export class Folder extends Emitter {
  constructor() {
    super();
    Object.assign(this, { frames: new Map(), labels: [], model: {}, quality: [], formats: [], progress: {}, learning: null });
  }

  /** Takes all of /api/folder. */
  take({ frames, ...rest }) {
    Object.assign(this, rest);
    this.frames = new Map(frames.map((frame) => [frame.id, frame]));
    ["frames", "progress", "labels", "model", "learning", "quality"].forEach((kind) => this.emit(kind));
  }

  /** A frame's newest description. */
  update(frame) {
    this.frames.set(frame.id, frame);
    this.emit("frame", frame);
  }

  set(kind, value) {
    this[kind] = value;
    this.emit(kind);
  }

  /** {done, lesions, normals, rejected, total} of the readable frames. */
  count() {
    const count = { done: 0, lesions: 0, normals: 0, rejected: 0, total: 0 };
    for (const frame of this.frames.values()) {
      if (frame.state === "unreadable") continue;
      count.total++;
      if (!isDone(frame)) continue;
      count.done++;
      count[{ normal: "normals", rejected: "rejected" }[frame.state] || "lesions"]++;
    }
    return count;
  }

  colour(label) {
    return this.labels.find(({ number }) => number === label)?.colour || "#ffffff";
  }
}

/** Name of a frame for people. */
export function nameOf(frame) {
  return frame.frame === null ? frame.name : `${frame.name} · frame ${frame.frame + 1}`;
}
