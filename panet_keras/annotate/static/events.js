// What the server tells by itself: lines of JSON, read as they come; asked for again when the line breaks.

const SILENCE = 25_000; // the server says "alive" every 10 s
const PAUSES = [300, 1000, 2000, 3000];

/** Listens for ever. `onEvent` gets each event, `onLink` true or false when the connection comes or goes. */
export async function listen(api, onEvent, onLink) {
  for (let failures = 0; ; failures++) {
    try {
      await read(api, (event) => {
        if (event.kind === "hello") {
          failures = 0;
          onLink(true);
        }
        onEvent(event);
      });
      onLink(false);
    } catch (error) {
      onLink(false, error);
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSES[Math.min(failures, PAUSES.length - 1)]));
  }
}

async function read(api, onEvent) {
  const abort = new AbortController();
  let watch = setTimeout(() => abort.abort(), SILENCE);
  try {
    const answer = await api.request("events", { signal: abort.signal });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ; ) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(watch);
      watch = setTimeout(() => abort.abort(), SILENCE);
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      lines.filter(Boolean).forEach((line) => onEvent(JSON.parse(line)));
    }
  } finally {
    clearTimeout(watch);
  }
}
