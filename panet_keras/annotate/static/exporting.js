// The export dialog.

import { h } from "./dom.js";
import { say } from "./messages.js";

const NAMES = {
  png: "Masks as PNG",
  dataset: "Data set for the pipeline",
  coco: "COCO (JSON)",
  labelme: "LabelMe (JSON)",
  nifti: "NIfTI",
  "dicom-seg": "DICOM SEG",
  cvat: "CVAT (XML)",
};

export function openExport(dialog, { api, folder, settled }) {
  const boxes = folder.formats.map((format) => h("input", { type: "checkbox", value: format, checked: format === "png" }));
  const result = h("div", { class: "result", role: "status" });
  const count = folder.count();
  const waiting = [...folder.frames.values()].filter(({ state }) => state === "draft").length;
  const run = h("button", { type: "submit", class: "main" }, "Export");
  const form = h("form", {},
    h("h2", {}, "Export"),
    h("p", {}, `${count.lesions} with a lesion, ${count.normals} confirmed without. ${count.total - count.done} not done and ${count.rejected} rejected are left out.`),
    waiting ? h("p", { class: "warn" }, `${waiting} drawn but not accepted: left out, too.`) : null,
    h("div", { class: "formats" }, ...boxes.map((box) => h("label", {}, box, ` ${NAMES[box.value] || box.value}`))),
    result,
    h("div", { class: "row" }, h("span", { class: "space" }), h("button", { type: "button", onclick: () => dialog.close() }, "Close"), run),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const formats = boxes.filter((box) => box.checked).map((box) => box.value);
    if (!formats.length) return result.replaceChildren("Choose a format.");
    run.disabled = true;
    result.replaceChildren("Writing…");
    try {
      await settled();
      result.replaceChildren(...told(await api.export(formats)));
    } catch (error) {
      result.replaceChildren(`${error.message} ${error.mend || ""}`);
    }
    run.disabled = false;
  });
  dialog.replaceChildren(form);
  dialog.showModal();
}

function told({ path, files, skipped }) {
  const copy = async () => {
    await navigator.clipboard.writeText(path);
    say("The folder's name is copied.");
  };
  const list = skipped.slice(0, 20).map(({ name, why }) => h("li", {}, `${name}: ${why}`));
  return [
    h("p", {}, `${files.length} ${files.length === 1 ? "file" : "files"} in`),
    h("p", { class: "row" }, h("code", {}, path), navigator.clipboard ? h("button", { type: "button", onclick: copy }, "Copy") : null), // none without TLS
    ...(skipped.length ? [h("p", {}, `${skipped.length} left out:`), h("ul", {}, ...list)] : []),
  ];
}
