// Tuning the model to the accepted masks: when a person asks for it, while they go on.

import { $ } from "./dom.js";
import { say, sayError } from "./messages.js";

const FEWEST = 8; // as annotate/learn.py

export function makeLearning({ api, folder, saver }) {
  const button = $("learn-button");
  const show = () => {
    const { learning, model } = folder;
    button.hidden = model.where !== "here";
    button.disabled = Boolean(learning) || folder.count().lesions < FEWEST;
    button.title = `Tunes the model to your masks in a few minutes, and keeps the result where it is better on masks left out; from ${FEWEST} lesions on`;
    $("learning").hidden = !learning;
    if (!learning) return;
    const { done, total } = learning;
    $("learning-bar").style.width = `${total ? (100 * done) / total : 0}%`;
    $("learning").setAttribute("aria-valuemax", total);
    $("learning").setAttribute("aria-valuenow", done);
    $("learning-text").textContent = total ? `Learning: ${done} of ${total}` : "Learning…";
  };
  ["learning", "model", "frame", "frames"].forEach((kind) => folder.on(kind, show));
  const learn = async () => {
    try {
      await saver.idle(); // what was accepted a moment ago counts
      folder.set("learning", (await api.post("learn")).learning);
    } catch (error) {
      sayError(error);
    }
  };
  button.addEventListener("click", learn);
  return learn;
}

/** Says what came of it. */
export function learned({ masks, before, after }) {
  if (after === null) return say(`Nothing was gained on masks left out: the model stays (${masks} lesions).`);
  say(`Learned from ${masks} lesions: Dice ${before.toFixed(2)} to ${after.toFixed(2)} on masks left out. All proposals are made again.`);
}
