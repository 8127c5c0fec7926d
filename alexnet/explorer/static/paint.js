// Numbers as pixels: maps and weights from blue (negative) through the page's colour to orange, kernels as Figure 3.

export function decode(found) {
  const text = atob(found.values),
    bytes = new Int8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const [units, height = 1, width = 1] = found.shape;
  return { ...found, bytes, units, height, width };
}

const dark = () => document.documentElement.dataset.theme === "dark";
const ENDS = [
  [26, 111, 179],
  [217, 96, 10],
];
export function ramp() {
  const zero = dark() ? [16, 22, 28] : [255, 255, 255],
    table = new Uint8Array(256 * 3);
  for (let i = 0; i < 256; i++) {
    const share = (i - 128) / 127,
      end = ENDS[share < 0 ? 0 : 1],
      strength = Math.min(1, Math.abs(share)) ** 0.8;
    for (let c = 0; c < 3; c++) table[3 * i + c] = Math.round(zero[c] + (end[c] - zero[c]) * strength);
  }
  return table;
}

export function canvasOf(height, width, fill) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d"),
    image = context.createImageData(width, height);
  fill(image.data);
  context.putImageData(image, 0, 0);
  return canvas;
}

// One map; `share` is its limit over the limit of the whole layer, or 1.
export function mapCanvas(found, unit, share = 1, table = ramp()) {
  const size = found.height * found.width,
    start = unit * size;
  return canvasOf(found.height, found.width, (data) => {
    for (let i = 0; i < size; i++) {
      const level = 3 * (128 + Math.round(found.bytes[start + i] * share));
      data[4 * i] = table[level];
      data[4 * i + 1] = table[level + 1];
      data[4 * i + 2] = table[level + 2];
      data[4 * i + 3] = 255;
    }
  });
}

// All of a vector as a near-square picture.
export function vectorCanvas(found, first, count, height, table = ramp()) {
  const width = Math.ceil(count / height),
    most = Math.max(...found.limits, 1e-30);
  return canvasOf(height, width, (data) => {
    for (let i = 0; i < height * width; i++) {
      const unit = first + i,
        value = i < count ? (Math.sign(found.bytes[unit]) * found.limits[unit]) / most : 0;
      const level = 3 * (128 + Math.round(127 * value));
      data[4 * i] = table[level];
      data[4 * i + 1] = table[level + 1];
      data[4 * i + 2] = table[level + 2];
      data[4 * i + 3] = 255;
    }
  });
}

// A kernel on three channels from its least weight (black) to its largest (white); on one channel blue to orange.
export function kernelCanvas(bytes, start, channels, height, width) {
  const size = height * width;
  if (channels !== 3) return mapCanvas({ bytes, height, width }, start / size, 1);
  let low = Infinity,
    high = -Infinity;
  for (let i = start; i < start + 3 * size; i++) {
    low = Math.min(low, bytes[i]);
    high = Math.max(high, bytes[i]);
  }
  const scale = 255 / Math.max(1, high - low);
  return canvasOf(height, width, (data) => {
    for (let i = 0; i < size; i++) {
      for (let c = 0; c < 3; c++) data[4 * i + c] = (bytes[start + c * size + i] - low) * scale;
      data[4 * i + 3] = 255;
    }
  });
}

// A map over a picture: its strength is how opaque it is.
export function heatCanvas(found) {
  return canvasOf(found.height, found.width, (data) => {
    for (let i = 0; i < found.bytes.length; i++) {
      const level = found.bytes[i] / 127,
        end = ENDS[level < 0 ? 0 : 1];
      for (let c = 0; c < 3; c++) data[4 * i + c] = end[c];
      data[4 * i + 3] = Math.round(255 * Math.abs(level) ** 0.7);
    }
  });
}
