// Mouse, pen and fingers on the stage. Left draws; middle, space or two fingers move; right sets the window;
// the wheel zooms. Once a pen was seen, a finger never draws: it is the hand's heel.

export class Pointer {
  #pointers = new Map(); // id -> last place on the stage
  #doing = null; // "draw", "pan", "window", "pinch"
  #penSeen = false;
  #pen = null; // the pointer's number while a pen is down

  /** `hands` = {view, picture, editor, cursor(place, event)}; `space()` says whether the space bar is held. */
  constructor(stage, { view, picture, editor, cursor, space }) {
    Object.assign(this, { stage, view, picture, editor, cursor, space });
    const on = (name, run) => stage.addEventListener(name, run, { passive: false });
    on("pointerdown", (event) => this.#down(event));
    on("pointermove", (event) => this.#move(event));
    on("pointerup", (event) => this.#up(event));
    on("pointercancel", (event) => this.#up(event, true));
    on("pointerleave", () => cursor(null));
    on("wheel", (event) => this.#wheel(event));
    on("contextmenu", (event) => event.preventDefault());
    // The middle button would start the browser's own scrolling.
    on("mousedown", (event) => event.button === 1 && event.preventDefault());
  }

  get busy() {
    return this.#doing !== null;
  }

  #down(event) {
    if (event.target.closest("button, input, a")) return;
    event.preventDefault();
    document.activeElement?.blur();
    if (event.pointerType === "pen") this.#takePen(event.pointerId);
    else if (this.#pen !== null) return; // the hand's heel
    const place = this.view.onStage(event);
    this.#pointers.set(event.pointerId, place);
    this.stage.setPointerCapture(event.pointerId);
    if (event.pointerType === "touch" && this.#pointers.size === 2) {
      // The first finger has begun a stroke that was not meant.
      if (this.#doing === "draw") this.editor.takeBack();
      this.#doing = "pinch";
    } else if (!this.#doing) this.#doing = this.#begins(event);
    if (this.#doing === "draw") this.editor.down(this.view.toPicture(place), subtracts(event));
    this.stage.classList.toggle("panning", this.#doing === "pan" || this.#doing === "pinch");
  }

  /** The pen has come: the hand that lies on the glass already does nothing more. */
  #takePen(id) {
    if (this.#doing === "draw") this.editor.takeBack();
    this.#pointers.clear();
    this.#doing = null;
    [this.#penSeen, this.#pen] = [true, id];
  }

  #begins(event) {
    if (event.pointerType === "touch" && this.#penSeen) return "pan";
    if (event.button === 1 || this.space()) return "pan";
    if (event.button === 2) return "window";
    return event.button === 0 || event.button === 5 ? "draw" : null;
  }

  #move(event) {
    if (this.#pen !== null && event.pointerId !== this.#pen) return;
    const place = this.view.onStage(event);
    this.cursor(place, event);
    const last = this.#pointers.get(event.pointerId);
    if (!last) {
      if (event.pointerType !== "touch") this.editor.hover(this.view.toPicture(place));
      return;
    }
    const [dx, dy] = [place[0] - last[0], place[1] - last[1]];
    if (this.#doing === "pinch") this.#pinch(event.pointerId, place);
    if (this.#doing === "pan") this.view.pan(dx, dy);
    if (this.#doing === "window") this.picture.setWindow(this.picture.window + dx, this.picture.level + dy / 2);
    if (this.#doing === "draw") {
      const events = event.getCoalescedEvents?.() || [];
      for (const each of events.length ? events : [event]) {
        this.editor.move(this.view.toPicture(this.view.onStage(each)));
      }
    }
    this.#pointers.set(event.pointerId, place);
  }

  #pinch(id, place) {
    const other = [...this.#pointers].find(([one]) => one !== id)?.[1];
    if (!other) return;
    const last = this.#pointers.get(id);
    const distance = ([x, y]) => Math.max(1, Math.hypot(x - other[0], y - other[1]));
    this.view.pan((place[0] - last[0]) / 2, (place[1] - last[1]) / 2);
    this.view.zoom(distance(place) / distance(last), [(place[0] + other[0]) / 2, (place[1] + other[1]) / 2]);
  }

  #up(event, cancelled = false) {
    if (!this.#pointers.delete(event.pointerId)) return;
    if (event.pointerId === this.#pen) this.#pen = null;
    if (this.#doing === "draw") cancelled ? this.editor.takeBack() : this.editor.up();
    // After a pinch the finger that stays does nothing until it is lifted.
    if (!this.#pointers.size) this.#doing = null;
    this.stage.classList.remove("panning");
  }

  #wheel(event) {
    event.preventDefault();
    const place = this.view.onStage(event);
    if (this.#doing === "draw") return;
    // Two fingers on a touchpad move; a pinch there comes as a wheel with Ctrl; a mouse wheel turns in clicks.
    const mouse = event.deltaMode !== 0 || (!event.deltaX && Math.abs(event.wheelDeltaY ?? 120) % 120 === 0);
    if (event.ctrlKey) this.view.zoom(Math.exp(-event.deltaY / (mouse ? 400 : 100)), place);
    else if (mouse) this.view.zoom(event.deltaY < 0 ? 1.25 : 0.8, place);
    else this.view.pan(-event.deltaX, -event.deltaY);
    this.cursor(place, event);
  }
}

function subtracts(event) {
  return { subtract: event.shiftKey || event.altKey || event.button === 5 };
}
