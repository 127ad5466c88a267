// What may lie over the picture besides the mask: heat of probability, what the model looked at, the proposal
// from before. Each belongs to the frame it was asked for.

import { $, h } from "./dom.js";
import { sayError } from "./messages.js";

const HEAT = {
  probability: "How likely a lesion, for the model",
  "grad-cam": "Where the model looked",
};

export class Layers {
  constructor({ session, assets, overlay, editor }) {
    Object.assign(this, { session, assets, overlay, editor, heat: null, before: false });
    session.on("shown", () => this.heat && this.#load(this.heat));
  }

  #badge(text, busy = false) {
    const bar = this.heat && !busy && !this.before ? [h("span", {}, " less "), h("span", { class: "heat-bar" }), h("span", {}, " more")] : [];
    $("badges").replaceChildren(...(text ? [h("div", { class: "badge" }, text, ...bar)] : []));
  }

  toggleHeat(kind) {
    if (this.heat === kind) return this.#off();
    return this.#load((this.heat = kind));
  }

  #off() {
    this.heat = null;
    this.overlay.set({ heat: null });
    this.#badge(null);
  }

  async #load(kind) {
    const { id } = this.session;
    this.#badge("Asking the model…", true);
    try {
      const label = this.editor.label === 1 ? "" : `?label=${this.editor.label}`;
      const heat = await this.assets.grey(id, kind + label);
      if (this.session.id !== id || this.heat !== kind || heat.length !== this.editor.mask.data.length) return;
      this.overlay.set({ heat });
      this.#badge(HEAT[kind]);
    } catch (error) {
      if (this.heat === kind) this.#off();
      sayError(error);
    }
  }

  /** While a key is held: the model's last proposal in place of the mask. */
  async showBefore() {
    const { id } = this.session;
    this.before = true;
    try {
      const instead = await this.assets.grey(id, "proposal");
      if (!this.before || this.session.id !== id) return;
      this.overlay.set({ instead });
      this.#badge("Before: the model’s proposal");
    } catch (error) {
      if (error.status === 404) this.#badge("The model has proposed nothing here");
      else sayError(error);
    }
  }

  endBefore() {
    this.before = false;
    this.overlay.set({ instead: null });
    this.#badge(this.heat && HEAT[this.heat]);
  }

  hide(hidden) {
    this.overlay.set({ hidden });
  }
}
