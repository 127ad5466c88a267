// PNG of 8 bits of grey, read and written here: a canvas may change pixels (colour management, browsers that
// blur what is read back against fingerprinting), and a label's number must not change.

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function crc(bytes) {
  let value = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) value = CRC[(value ^ bytes[i]) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

async function through(stream, bytes) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());
}

function chunk(name, body) {
  const bytes = new Uint8Array(12 + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, body.length);
  for (let i = 0; i < 4; i++) bytes[4 + i] = name.charCodeAt(i);
  bytes.set(body, 8);
  view.setUint32(8 + body.length, crc(bytes.subarray(4, 8 + body.length)));
  return bytes;
}

/** Uint8Array [height * width] -> Blob of a PNG. */
export async function encodeGrey(data, width, height) {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header[8] = 8; // bits; the rest is 0: grey, deflate, no interlacing
  // Filter 2 (up): a mask's rows repeat, so that almost all bytes become 0.
  const rows = new Uint8Array((width + 1) * height);
  for (let y = 0, to = 0, from = 0; y < height; y++) {
    rows[to++] = y ? 2 : 0;
    for (let x = 0; x < width; x++, from++) rows[to++] = y ? data[from] - data[from - width] : data[from];
  }
  const body = await through(new CompressionStream("deflate"), rows);
  const parts = [new Uint8Array(SIGNATURE), chunk("IHDR", header), chunk("IDAT", body), chunk("IEND", new Uint8Array(0))];
  return new Blob(parts, { type: "image/png" });
}

/** ArrayBuffer of a PNG -> {width, height, data: Uint8Array [height * width]}; Error for another kind. */
export async function decodeGrey(buffer) {
  const bytes = new Uint8Array(buffer);
  const view = new DataView(buffer);
  if (SIGNATURE.some((value, i) => bytes[i] !== value)) throw new Error("The server sent no PNG for a mask.");
  const width = view.getUint32(16);
  const height = view.getUint32(20);
  if (bytes[24] !== 8 || bytes[25] !== 0 || bytes[28] !== 0) throw new Error("The mask is no PNG of 8 bits of grey.");
  const parts = [];
  for (let at = 8; at < bytes.length; ) {
    const length = view.getUint32(at);
    if (String.fromCharCode(...bytes.subarray(at + 4, at + 8)) === "IDAT") parts.push(bytes.subarray(at + 8, at + 8 + length));
    at += 12 + length;
  }
  const rows = await through(new DecompressionStream("deflate"), new Uint8Array(await new Blob(parts).arrayBuffer()));
  return { width, height, data: unfilter(rows, width, height) };
}

function unfilter(rows, width, height) {
  const data = new Uint8Array(width * height);
  for (let y = 0, from = 0, to = 0; y < height; y++) {
    const filter = rows[from++];
    for (let x = 0; x < width; x++, from++, to++) {
      const left = x ? data[to - 1] : 0;
      const up = y ? data[to - width] : 0;
      const corner = x && y ? data[to - width - 1] : 0;
      data[to] = rows[from] + predicted(filter, left, up, corner);
    }
  }
  return data;
}

function predicted(filter, left, up, corner) {
  if (filter === 0) return 0;
  if (filter === 1) return left;
  if (filter === 2) return up;
  if (filter === 3) return (left + up) >> 1;
  const toLeft = Math.abs(up - corner);
  const toUp = Math.abs(left - corner);
  const toCorner = Math.abs(left + up - 2 * corner);
  return toLeft <= toUp && toLeft <= toCorner ? left : toUp <= toCorner ? up : corner;
}
