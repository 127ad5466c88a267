// What one key does to a whole label: grow, shrink, fill holes, keep the largest, smooth, clear.
// Other labels are never touched. Each gives the rectangle in which pixels changed, or null.

/** Pixels that one step of growing or smoothing reaches: one on a small picture, five on 2000 x 1500. */
export function step(mask) {
  return Math.max(1, Math.round(Math.max(mask.width, mask.height) / 400));
}

export function grow(mask, label) {
  return steps(mask, label, (inside) => inside, 0, label);
}

export function shrink(mask, label) {
  return steps(mask, label, (inside) => !inside, label, 0);
}

// A cross and a square in turn come close to a circle. What lies outside the picture decides nothing.
function steps(mask, label, turns, from, to) {
  const reach = step(mask);
  const area = around(mask, label, reach);
  for (let round = 0; area && round < reach; round++) {
    const { width, data } = mask;
    const before = data.slice();
    eachPixel(area, (x, y) => {
      const at = y * width + x;
      if (before[at] !== from) return;
      for (let dy = -1; dy <= 1; dy++) {
        for (let dx = -1; dx <= 1; dx++) {
          if (round % 2 === 0 && dx && dy) continue;
          if (x + dx < 0 || y + dy < 0 || x + dx >= width || y + dy >= mask.height) continue;
          const inside = before[at + dy * width + dx] === label;
          if (turns(inside)) data[at] = to;
        }
      }
    });
  }
  return area;
}

/** Background that a label surrounds becomes that label. */
export function fillHoles(mask, label) {
  const area = around(mask, label, 1);
  if (!area) return null;
  const [width, height] = [area[2] - area[0], area[3] - area[1]];
  const outside = new Uint8Array(width * height);
  const stack = [];
  const visit = (x, y) => {
    if (x < 0 || y < 0 || x >= width || y >= height || outside[y * width + x]) return;
    if (mask.data[(y + area[1]) * mask.width + x + area[0]] === label) return;
    outside[y * width + x] = 1;
    stack.push(x, y);
  };
  for (let x = 0; x < width; x++) [0, height - 1].forEach((y) => visit(x, y));
  for (let y = 0; y < height; y++) [0, width - 1].forEach((x) => visit(x, y));
  while (stack.length) {
    const y = stack.pop();
    const x = stack.pop();
    visit(x - 1, y);
    visit(x + 1, y);
    visit(x, y - 1);
    visit(x, y + 1);
  }
  eachPixel(area, (x, y) => {
    const at = y * mask.width + x;
    if (!mask.data[at] && !outside[(y - area[1]) * width + x - area[0]]) mask.data[at] = label;
  });
  return area;
}

/** Of a label's separate regions (neighbours at corners count) only the largest stays. */
export function keepLargest(mask, label) {
  const area = mask.bounds(label);
  if (!area) return null;
  const regions = new Int32Array(mask.data.length);
  let [count, best, most] = [0, 0, 0];
  eachPixel(area, (x, y) => {
    const start = y * mask.width + x;
    if (mask.data[start] !== label || regions[start]) return;
    const size = flood(mask, label, start, regions, ++count);
    if (size > most) [best, most] = [count, size];
  });
  eachPixel(area, (x, y) => {
    const at = y * mask.width + x;
    if (regions[at] && regions[at] !== best) mask.data[at] = 0;
  });
  return area;
}

function flood(mask, label, start, regions, number) {
  const { width, height, data } = mask;
  const stack = [start];
  regions[start] = number;
  let size = 0;
  while (stack.length) {
    const at = stack.pop();
    const [x, y] = [at % width, Math.floor(at / width)];
    size++;
    for (let dy = -1; dy <= 1; dy++) {
      for (let dx = -1; dx <= 1; dx++) {
        if (x + dx < 0 || y + dy < 0 || x + dx >= width || y + dy >= height) continue;
        const next = at + dy * width + dx;
        if (data[next] !== label || regions[next]) continue;
        regions[next] = number;
        stack.push(next);
      }
    }
  }
  return size;
}

/** A pixel takes the side that most of its square neighbourhood is on. */
export function smooth(mask, label) {
  const reach = 2 * step(mask);
  const area = around(mask, label, reach);
  if (!area) return null;
  const [width, height] = [area[2] - area[0], area[3] - area[1]];
  // Sums over all pixels above and left of a place: any square is then four look-ups.
  const sums = new Int32Array((width + 1) * (height + 1));
  for (let y = 0; y < height; y++) {
    for (let x = 0, row = 0; x < width; x++) {
      row += mask.data[(y + area[1]) * mask.width + x + area[0]] === label ? 1 : 0;
      sums[(y + 1) * (width + 1) + x + 1] = sums[y * (width + 1) + x + 1] + row;
    }
  }
  const at = (x, y) => sums[y * (width + 1) + x];
  for (let y = 0; y < height; y++) {
    const [top, bottom] = [Math.max(0, y - reach), Math.min(height, y + reach + 1)];
    for (let x = 0; x < width; x++) {
      const [left, right] = [Math.max(0, x - reach), Math.min(width, x + reach + 1)];
      const inside = at(right, bottom) - at(left, bottom) - at(right, top) + at(left, top);
      const most = 2 * inside > (right - left) * (bottom - top);
      const place = (y + area[1]) * mask.width + x + area[0];
      if (most && mask.data[place] === 0) mask.data[place] = label;
      if (!most && mask.data[place] === label) mask.data[place] = 0;
    }
  }
  return area;
}

export function clear(mask, label) {
  const area = mask.bounds(label);
  if (area) eachPixel(area, (x, y) => {
    if (mask.data[y * mask.width + x] === label) mask.data[y * mask.width + x] = 0;
  });
  return area;
}

function around(mask, label, margin) {
  const bounds = mask.bounds(label);
  return bounds && mask.clip([bounds[0] - margin, bounds[1] - margin, bounds[2] + margin, bounds[3] + margin]);
}

function eachPixel([left, top, right, bottom], visit) {
  for (let y = top; y < bottom; y++) for (let x = left; x < right; x++) visit(x, y);
}
