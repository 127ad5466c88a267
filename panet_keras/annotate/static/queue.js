// The order of work. The list is sorted anew only at quiet moments, so that nothing jumps under the hand.

import { Emitter } from "./emitter.js";
import { isDone, isOpen } from "./folder.js";
import { recall, remember } from "./settings.js";

export const ORDERS = [["doubt", "Most doubtful first"], ["name", "By name"], ["patient", "By patient"]];
export const FILTERS = [["all", "All"], ["open", "To do"], ["done", "Done"]];

export class Queue extends Emitter {
  constructor(folder) {
    super();
    this.folder = folder;
    this.order = recall("order", "name");
    this.filter = "all";
    this.ids = [];
    folder.on("frames", () => this.sort());
  }

  setOrder(order) {
    this.order = order;
    remember("order", order);
    this.sort();
  }

  setFilter(filter) {
    this.filter = filter;
    this.sort();
  }

  sort() {
    const shown = { all: () => true, open: isOpen, done: isDone }[this.filter];
    // The server lists by name (10 after 9); sorting is stable.
    const frames = [...this.folder.frames.values()].filter(shown);
    if (this.order === "patient") frames.sort(byPatient);
    if (this.order === "doubt") frames.sort((one, other) => urgency(other) - urgency(one));
    this.ids = frames.map((frame) => frame.id);
    this.emit("sorted");
  }

  /** The frame `by` places after one, or null at the ends. */
  neighbour(id, by) {
    return this.ids[this.ids.indexOf(id) + by] ?? null;
  }

  /** The next frames that are not done: by doubt the most doubtful ones, else those that follow, from the start again. */
  next(id, count = 1) {
    const open = (other) => other !== id && isOpen(this.folder.frames.get(other));
    const place = this.ids.indexOf(id);
    const listed = this.order === "doubt" ? this.ids : [...this.ids.slice(place + 1), ...this.ids.slice(0, place + 1)];
    const ids = listed.filter(open);
    if (this.order === "doubt") {
      const urgent = (other) => urgency(this.folder.frames.get(other));
      ids.sort((one, other) => urgent(other) - urgent(one));
    }
    return ids.slice(0, count);
  }
}

function urgency(frame) {
  if (!isOpen(frame)) return -2;
  return frame.doubt ?? -1;
}

function byPatient(one, other) {
  if (one.patient === other.patient) return 0;
  if (one.patient === null || other.patient === null) return one.patient === null ? 1 : -1;
  return one.patient < other.patient ? -1 : 1;
}
