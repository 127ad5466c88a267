// From 0 to 255 as colours that also read without hue: the higher, the lighter and the less transparent.

const STOPS = [[40, 10, 90, 0], [120, 30, 140, 90], [220, 70, 80, 140], [250, 150, 40, 170], [255, 240, 140, 190]];

export const heatColours = new Uint32Array(256);
const bytes = new Uint8ClampedArray(heatColours.buffer);
for (let value = 0; value < 256; value++) {
  const place = (value / 255) * (STOPS.length - 1);
  const [below, above] = [STOPS[Math.floor(place)], STOPS[Math.ceil(place)]];
  bytes.set(below.map((stop, i) => stop + (above[i] - stop) * (place % 1)), 4 * value);
}
