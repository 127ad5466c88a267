// Shapes of tools and states, drawn with lines on 16 x 16; a state is never told by colour alone.

import { svg } from "./dom.js";

const PATHS = {
  brush: "M13.5 2.5 7 9M7 9c-2-.5-3 1-3 2.500-.2 1-1 1.500-2 1.500 1.500 1.500 5.500 1 6-1.500.2-1-.2-2-1-2.500z",
  eraser: "M2.500 10.500 9 4l4 4-5 5H5zM6 7l4 4M8 13h6",
  outline: "M8 2.500c4 0 6 2 5.500 5S11 13.500 7 13 2 10.500 2.500 7 5 2.500 8 2.500z",
  polygon: "M3 12 2.500 5 9 2.500l4.500 4.500-3 6zM3 12h.01M13.500 7h.01",
  grow: "M8 5v6M5 8h6M8 1.800A6.200 6.200 0 1 1 7.900 1.800",
  shrink: "M5 8h6M8 1.800A6.200 6.200 0 1 1 7.900 1.800",
  fillHoles: "M8 1.800A6.200 6.200 0 1 1 7.900 1.800M8 5.500A2.500 2.500 0 1 1 7.900 5.500M6.500 8l1.500 1.500L10 7",
  keepLargest: "M6 3.500A4.500 4.500 0 1 1 5.900 3.500M12 2l2.500 2.500M14.500 2 12 4.500",
  smooth: "M1.500 10c2-6 4-6 6.500-2s4.500 4 6.500-2",
  clear: "M3 4.500h10M6 4.500v-2h4v2M4.500 4.500l.5 9h6l.5-9",
  filled: "M8 2.500A5.500 5.500 0 1 1 7.900 2.500M3.500 10.500l7-7M5 12.500l7.500-7.500M9 13.200l4.200-4.200",
  heat: "M8 14c-3 0-4.500-2-4.500-4.200C3.500 7 6.500 6 6 2c3 1 6.500 4 6.500 7.800C12.500 12 11 14 8 14z",
  look: "M1.500 8C4 3.500 12 3.500 14.500 8 12 12.500 4 12.500 1.500 8zM8 6.200A1.800 1.800 0 1 1 7.900 6.200",
  fit: "M2.500 6V2.500H6M10 2.500h3.500V6M13.500 10v3.500H10M6 13.500H2.500V10",
  undo: "M3 6h7a3.500 3.500 0 0 1 0 7H6M3 6l3-3M3 6l3 3",
  redo: "M13 6H6a3.500 3.500 0 0 0 0 7h4M13 6l-3-3M13 6l-3 3",
  unseen: "M8 3.500A4.500 4.500 0 1 1 7.900 3.500",
  proposed: "M8 2.500 13.500 8 8 13.500 2.500 8z",
  draft: "M3 13l.8-3.200L11 2.500l2.500 2.500-7.300 7.200z",
  accepted: "M2.500 8.500 6.500 12.500 13.500 4",
  corrected: "M1.500 9 4.500 12 9.500 5.500M12 9v5M9.500 11.500h5",
  normal: "M8 2.500A5.500 5.500 0 1 1 7.900 2.500M4.200 11.800l7.600-7.600",
  rejected: "M3.500 3.500l9 9M12.500 3.500l-9 9",
  unreadable: "M8 2 14.500 13.500h-13zM8 6.500v3.500M8 11.800v.2",
};

export function icon(name) {
  const path = svg("path", { d: PATHS[name], fill: "none", stroke: "currentColor", "stroke-width": 1.6 });
  path.setAttribute("stroke-linecap", "round");
  path.setAttribute("stroke-linejoin", "round");
  return svg("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true", class: "icon" }, path);
}

const STATES = {
  unseen: "Not seen yet",
  proposed: "Proposed",
  draft: "Unfinished",
  accepted: "Accepted",
  corrected: "Corrected",
  normal: "No lesion",
  rejected: "Rejected",
  unreadable: "Cannot be read",
};

/** Words for a frame's state; without a proposal there was nothing to correct. */
export function stateText({ state, presence }) {
  return state === "corrected" && presence === null ? "Drawn" : STATES[state];
}
