// Requests to the server. The token comes from the link and never leaves the headers.

const TIMEOUT = 60_000;

/** An answer that is none to what was asked: `status`, `body` (the contract's JSON), `mend`. */
export class Refusal extends Error {
  constructor(status, body) {
    super(body.error || `The server answered ${status}.`);
    this.status = status;
    this.body = body;
    this.mend = body.mend || (body.error ? "" : "another program seems to be at this address");
  }

  /** Whether the folder's own server has judged what was sent; another program's answer, or a wrong token's, says nothing of it. */
  get judged() {
    return Boolean(this.body.error) && this.status >= 400 && this.status < 500 && this.status !== 403;
  }
}

/** No answer: the server is gone, or the way to it. */
export class Offline extends Error {}

export class Api {
  constructor(token) {
    this.token = token;
    this.person = "";
  }

  async request(path, { signal, ...options } = {}) {
    const headers = { "X-Annotate-Token": this.token, ...options.headers };
    if (this.person) headers["X-Person"] = encodeURIComponent(this.person);
    let answer;
    try {
      answer = await fetch(`/api/${path}`, { ...options, headers, signal: signal || AbortSignal.timeout(TIMEOUT) });
    } catch (error) {
      throw new Offline(error.message);
    }
    if (answer.ok) return answer;
    throw new Refusal(answer.status, await answer.json().catch(() => ({})));
  }

  async json(path, options) {
    const answer = await this.request(path, options);
    return answer.json().catch(() => {
      throw new Refusal(answer.status, {});
    });
  }

  post(path, body = {}, version, signal) {
    const headers = { "Content-Type": "application/json" };
    if (version !== undefined) headers["If-Match"] = version;
    return this.json(path, { method: "POST", headers, body: JSON.stringify(body), signal });
  }

  /** Thousands of pictures take minutes: it is waited for as long as it takes. */
  export(formats) {
    return this.post("export", { formats }, undefined, new AbortController().signal);
  }

  folder() {
    return this.json("folder");
  }

  frame(id) {
    return this.json(`frames/${id}`);
  }

  async picture(id, kind = "picture", options = {}) {
    return (await this.request(`frames/${id}/${kind}`, options)).blob();
  }

  /** -> {buffer: ArrayBuffer of a grey PNG, version}. */
  async grey(id, kind) {
    const answer = await this.request(`frames/${id}/${kind}`);
    return { buffer: await answer.arrayBuffer(), version: answer.headers.get("X-Version") };
  }

  putMask(id, png, version, stroke) {
    const headers = { "Content-Type": "image/png", "If-Match": version };
    return this.json(`frames/${id}/mask?stroke=${encodeURIComponent(stroke)}`, { method: "PUT", headers, body: png });
  }
}
