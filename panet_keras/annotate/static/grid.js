// The list of pictures: only the rows in sight exist, so that thousands cost what a dozen costs.

import { h } from "./dom.js";
import { nameOf } from "./folder.js";
import { icon, stateText } from "./icons.js";

const CELL = { width: 124, height: 128 };
const AHEAD = 2; // rows above and below

export class Grid {
  #cells = new Map(); // id -> {element, image}
  #asked = false;

  constructor(container, { folder, queue, thumbnails, choose }) {
    Object.assign(this, { container, folder, queue, thumbnails, choose, current: null, columns: 1 });
    this.inner = h("div", { class: "cells" });
    container.append(this.inner);
    container.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(container);
    queue.on("sorted", () => this.#again());
    folder.on("frame", (frame) => this.#cells.has(frame.id) && this.#fill(frame));
  }

  #again() {
    this.inner.replaceChildren();
    this.#cells.clear();
    this.draw();
  }

  /** Marks a frame as the one in work, and brings it into sight. */
  select(id) {
    const last = this.current;
    this.current = id;
    [last, id].forEach((each) => this.#mark(each));
    const row = Math.floor(this.queue.ids.indexOf(id) / this.columns);
    const [top, bottom] = [row * CELL.height, (row + 1) * CELL.height];
    const { scrollTop, clientHeight } = this.container;
    if (row >= 0 && (top < scrollTop || bottom > scrollTop + clientHeight)) {
      this.container.scrollTop = top - (clientHeight - CELL.height) / 2;
    }
    this.draw();
  }

  draw() {
    if (this.#asked) return;
    this.#asked = true;
    requestAnimationFrame(() => {
      this.#asked = false;
      this.#draw();
    });
  }

  #draw() {
    const { clientHeight, scrollTop } = this.container;
    const { clientWidth } = this.inner;
    if (!clientWidth) return;
    this.columns = Math.max(1, Math.floor(clientWidth / CELL.width));
    const { ids } = this.queue;
    this.inner.style.height = `${Math.ceil(ids.length / this.columns) * CELL.height}px`;
    const first = Math.max(0, Math.floor(scrollTop / CELL.height) - AHEAD) * this.columns;
    const last = (Math.ceil((scrollTop + clientHeight) / CELL.height) + AHEAD) * this.columns;
    const shown = ids.slice(first, last);
    const wanted = new Set(shown);
    for (const [id, { element }] of this.#cells) {
      if (wanted.has(id)) continue;
      element.remove();
      this.#cells.delete(id);
    }
    const width = Math.floor(clientWidth / this.columns);
    shown.forEach((id, i) => {
      if (!this.#cells.has(id)) this.#make(id);
      const { element } = this.#cells.get(id);
      const [column, row] = [(first + i) % this.columns, Math.floor((first + i) / this.columns)];
      element.style.transform = `translate(${column * width}px, ${row * CELL.height}px)`;
      element.style.width = `${width - 6}px`;
    });
  }

  #make(id) {
    const image = h("img", { alt: "", draggable: "false" });
    const mark = h("span", { class: "mark" });
    const name = h("span", { class: "name" });
    const open = () => this.choose(id);
    const element = h("button", { type: "button", class: "cell", onclick: open }, image, mark, name);
    this.#cells.set(id, { element, image, mark, name });
    this.inner.append(element);
    this.#fill(this.folder.frames.get(id));
  }

  #fill(frame) {
    const { element, image, mark, name } = this.#cells.get(frame.id);
    element.dataset.state = frame.state;
    element.setAttribute("aria-label", `${nameOf(frame)}, ${stateText(frame)}`);
    element.title = nameOf(frame);
    mark.replaceChildren(icon(frame.state), stateText(frame));
    name.textContent = nameOf(frame);
    if (frame.state !== "unreadable") this.thumbnails.into(image, frame);
    this.#mark(frame.id);
  }

  #mark(id) {
    const cell = this.#cells.get(id);
    if (cell) cell.element.setAttribute("aria-current", id === this.current);
  }
}
