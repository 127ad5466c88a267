// Keys to commands. A command is {key, also, shown, text, group, run, up, free}: `up` ends what a held key began; `free` works
// while a dialog is open.

const NAMES = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", " ": "Space", Escape: "Esc", Delete: "Del", Home: "Home" };

/** "Ctrl+Shift+z" of an event; Shift is named only where the character does not tell it. */
export function keyOf(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const letter = /^[a-z]$/.test(key) || key.length > 1;
  return [event.ctrlKey || event.metaKey ? "Ctrl+" : "", event.altKey ? "Alt+" : "", event.shiftKey && letter ? "Shift+" : "", key].join("");
}

// Where a key lies on an American keyboard: what a keyboard of other letters is asked by.
const PLACES = { BracketLeft: "[", BracketRight: "]", Minus: "-", Equal: "=", Comma: ",", Period: "." };

/** As `keyOf`, of the key's place, or null: Cyrillic and Greek keyboards have no P, French ones no digit without Shift. */
export function placeOf(event) {
  const { code, ctrlKey, metaKey, altKey, shiftKey } = event;
  const digit = code.startsWith("Digit");
  const ascii = /^[\x21-\x7e]$/.test(event.key);
  const key = /^(Key|Digit)\w$/.test(code) ? code.at(-1) : PLACES[code];
  if (!key || (digit ? shiftKey : ascii)) return null;
  return keyOf({ key, ctrlKey, metaKey, altKey, shiftKey });
}

/** How a key is written for people. */
export function keyText(key) {
  return key.split(/\+(?=.)/).map((part) => NAMES[part] || (part.length === 1 ? part.toUpperCase() : part)).join(" ");
}

// Until the next frame is drawn a field of a closed dialog has the focus still: keys are the page's again at once.
function inSight(event, selector) {
  return event.target.closest?.(selector)?.getClientRects().length > 0;
}

export class Keys {
  #held = new Map();
  space = false;

  constructor(commands) {
    this.byKey = new Map(commands.flatMap((command) => [command.key, ...(command.also || [])].map((key) => [key, command])));
    addEventListener("keydown", (event) => this.#down(event));
    addEventListener("keyup", (event) => this.#up(event));
    addEventListener("blur", () => this.#release());
  }

  #down(event) {
    if (event.isComposing || inSight(event, "input, select, textarea")) return;
    if (inSight(event, "button, a, summary") && [" ", "Enter"].includes(event.key)) return;
    if (event.key === " ") {
      this.space = true;
      document.body.classList.add("space");
      event.preventDefault();
      return;
    }
    const command = this.byKey.get(keyOf(event)) || this.byKey.get(placeOf(event));
    if (!command || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    if (event.repeat && !command.repeats) return;
    if (command.up) this.#held.set(event.code, command);
    command.run();
  }

  #up(event) {
    if (event.key === " ") {
      this.space = false;
      document.body.classList.remove("space");
    }
    this.#held.get(event.code)?.up();
    this.#held.delete(event.code);
  }

  // Alt+Tab takes the key's end with it.
  #release() {
    this.space = false;
    document.body.classList.remove("space");
    this.#held.forEach((command) => command.up());
    this.#held.clear();
  }
}
