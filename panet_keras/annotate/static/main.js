// Puts the page together and listens to the server.

import { makeAbout } from "./about.js";
import { Api } from "./api.js";
import { Assets } from "./assets.js";
import { makeCommands } from "./commands.js";
import { watchConflicts } from "./conflict.js";
import { drawCurve } from "./curve.js";
import { Cursor } from "./cursor.js";
import { $, h } from "./dom.js";
import { Editor } from "./editor.js";
import { listen } from "./events.js";
import { openExport } from "./exporting.js";
import { Folder } from "./folder.js";
import { Grid } from "./grid.js";
import { fillHelp } from "./help.js";
import { Keys } from "./keys.js";
import { Layers } from "./layers.js";
import { learned, makeLearning } from "./learning.js";
import { say, sayError } from "./messages.js";
import { Overlay } from "./overlay.js";
import { Picture } from "./picture.js";
import { Pointer } from "./pointer.js";
import { FILTERS, ORDERS, Queue } from "./queue.js";
import { Saver } from "./saver.js";
import { percent, Session } from "./session.js";
import { recall, remember } from "./settings.js";
import { Thumbnails } from "./thumbnails.js";
import { makeToolbar } from "./toolbar.js";
import { link, makeTop } from "./top.js";
import { View } from "./view.js";

const token = new URLSearchParams(location.hash.slice(1)).get("token");
const api = new Api(token || "");
const folder = new Folder();
const queue = new Queue(folder);
const assets = new Assets(api);
const saver = new Saver(api, assets);
const view = new View($("stage"), $("sheet"));
const picture = new Picture($("picture-canvas"));
const overlay = new Overlay($("mask-canvas"), view);
const editor = new Editor(overlay, view);
const cursor = new Cursor({ view, editor });
const session = new Session({ api, folder, queue, assets, saver, editor, picture, overlay, view });
const layers = new Layers({ session, assets, overlay, editor });
const thumbnails = new Thumbnails(api);
const choose = (id) => {
  if (!$("overview").hidden) ui.toggleOverview();
  session.show(id);
};
const grids = [$("grid"), $("overview")].map((container) => new Grid(container, { folder, queue, thumbnails, choose }));

const ui = {
  overviewShown: () => !$("overview").hidden,
  toggleOverview() {
    const hidden = ($("overview").hidden = !$("overview").hidden);
    $("stage").classList.toggle("away", !hidden);
    grids[1].select(session.id);
  },
  nextOrder() {
    const place = ORDERS.findIndex(([order]) => order === queue.order);
    const [order, text] = ORDERS[(place + 1) % ORDERS.length];
    queue.setOrder(order);
    $("order").value = order;
    say(text);
  },
  escape() {
    if (!$("overview").hidden) return ui.toggleOverview();
    editor.cancelStroke();
  },
  chooseLabel(number) {
    if (folder.labels.some((label) => label.number === number)) editor.setLabel(number);
  },
  async addLabel() {
    const name = prompt("Name of the label")?.trim();
    if (!name) return;
    try {
      folder.set("labels", (await api.post("labels", { name })).labels);
      editor.setLabel(folder.labels.at(-1).number);
    } catch (error) {
      sayError(error);
    }
  },
  learn: makeLearning({ api, folder, saver }),
  export: () => openExport($("export"), { api, folder, settled: () => saver.idle() }),
};

const commands = makeCommands({ session, editor, view, picture, overlay, layers, cursor, queue, ui });
const keys = new Keys(commands);
new Pointer($("stage"), { view, picture, editor, cursor: (place, event) => cursor.to(place, event), space: () => keys.space });
makeToolbar({ commands, editor, overlay, folder, layers, picture, view, addLabel: ui.addLabel });
makeAbout({ commands, session, folder, queue });
makeTop({ folder, saver });
watchConflicts({ session, assets, overlay });
fillHelp($("help"), commands);

$("help-button").addEventListener("click", () => $("help").showModal());
$("export-button").addEventListener("click", ui.export);
for (const [id, options, run] of [["order", ORDERS, (value) => queue.setOrder(value)], ["filter", FILTERS, (value) => queue.setFilter(value)]]) {
  $(id).replaceChildren(...options.map(([value, text]) => h("option", { value }, text)));
  $(id).addEventListener("change", () => {
    run($(id).value);
    if (!$(id).matches(":focus-visible")) $(id).blur(); // by the mouse: the keys go back to the page
  });
}
$("order").value = queue.order;
$("person").value = api.person = recall("person", "");
$("person").addEventListener("input", () => remember("person", (api.person = $("person").value.trim())));
$("person").addEventListener("keydown", (event) => ["Enter", "Escape"].includes(event.key) && $("person").blur());
// The mouse leaves the keyboard with the page: Enter after a click on a tool still accepts.
// A field lets go of it, too: or the keys of the tool would be written into the name.
addEventListener("mousedown", (event) => {
  if (!event.target.closest("button")) return;
  event.preventDefault();
  if (document.activeElement.matches("input, select")) document.activeElement.blur();
});
addEventListener("beforeunload", (event) => (saver.pending || saver.conflicts || editor.drawing) && event.preventDefault());
addEventListener("hashchange", () => location.reload());

editor.on("waiting", () => say("One moment: undo or redo is on its way."));
editor.on("locked", () => say("This picture cannot be read; nothing can be drawn on it."));
editor.on("covered", () => say("Your mask is not shown now; nothing is drawn on it."));
folder.on("labels", () => overlay.setColours(folder.labels));
folder.on("quality", () => drawCurve($("curve"), $("quality-text"), folder.quality));
session.on("shown", ({ id }) => grids.forEach((grid) => grid.select(id)));

async function catchUp() {
  try {
    folder.take(await api.folder());
    await session.caughtUp();
  } catch (error) {
    if (error.status) sayError(error);
  }
}

const HEAR = {
  hello: catchUp,
  reload: catchUp,
  proposed: ({ frame }) => session.told("proposed", frame),
  mask: ({ frame, by }) => session.told("mask", frame, by),
  state: ({ frame, by }) => session.told("state", frame, by),
  progress: ({ progress }) => folder.set("progress", progress),
  quality: ({ quality }) => folder.set("quality", quality),
  model: ({ model }) => folder.set("model", model),
  learning: ({ learning }) => folder.set("learning", learning),
  learned,
  labels: ({ labels }) => folder.set("labels", labels),
  error: sayError,
  changed({ frames, mean }) {
    const proposals = `${frames} ${frames === 1 ? "proposal" : "proposals"}`;
    if (frames) say(mean < 1 ? `${proposals} changed, by ${percent(mean)} on average.` : `${proposals} made.`);
    queue.sort();
  },
};

function onLink(connected, error) {
  if (error?.status === 403) return say("The link is no longer valid.", { mend: "Open the one that the program has printed.", stays: true });
  saver.offline = !connected;
  if (connected) saver.wake();
  link(saver.pending, saver.offline, saver.conflicts, saver.failing);
}

if (token) listen(api, (event) => HEAR[event.kind]?.(event), onLink);
else {
  $("empty").hidden = false;
  $("empty").textContent = "Open the link that the program has printed: it ends with #token=…";
}
