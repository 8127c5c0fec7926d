// Draws numbers as pixels: from blue (negative) through the color of the page to orange, kernels as in Figure 3.

// Adds the signed bytes and the sizes to an answer of the server that has them in base64.
export function decode(data) {
  const text = atob(data.values),
    bytes = new Int8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const [units, height = 1, width = 1] = data.shape;
  return { ...data, bytes, units, height, width };
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

// One feature map; `share` is its limit divided by the limit of the whole layer, or 1.
export function mapCanvas(values, unit, share = 1, table = ramp()) {
  const size = values.height * values.width,
    start = unit * size;
  return canvasOf(values.height, values.width, (data) => {
    for (let i = 0; i < size; i++) {
      const level = 3 * (128 + Math.round(values.bytes[start + i] * share));
      data[4 * i] = table[level];
      data[4 * i + 1] = table[level + 1];
      data[4 * i + 2] = table[level + 2];
      data[4 * i + 3] = 255;
    }
  });
}

// The units `first` to `first + count` of a flat layer as a nearly square image.
export function vectorCanvas(values, first, count, height, table = ramp()) {
  const width = Math.ceil(count / height),
    maximum = Math.max(...values.limits, 1e-30);
  return canvasOf(height, width, (data) => {
    for (let i = 0; i < height * width; i++) {
      const unit = first + i,
        value = i < count ? (Math.sign(values.bytes[unit]) * values.limits[unit]) / maximum : 0;
      const level = 3 * (128 + Math.round(127 * value));
      data[4 * i] = table[level];
      data[4 * i + 1] = table[level + 1];
      data[4 * i + 2] = table[level + 2];
      data[4 * i + 3] = 255;
    }
  });
}

// A kernel with three channels from its smallest weight (black) to its largest (white); with one channel blue to orange.
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

// An attribution map to lay over an image: the stronger, the more opaque.
export function heatCanvas(values) {
  return canvasOf(values.height, values.width, (data) => {
    for (let i = 0; i < values.bytes.length; i++) {
      const level = values.bytes[i] / 127,
        end = ENDS[level < 0 ? 0 : 1];
      for (let c = 0; c < 3; c++) data[4 * i + c] = end[c];
      data[4 * i + 3] = Math.round(255 * Math.abs(level) ** 0.7);
    }
  });
}
