// What the page holds of a run: the network, what its pictures are, and some of them.
"use strict";

const $ = (id) => document.getElementById(id);
const contents = JSON.parse($("contents").textContent);
const { kind, normalisation, uploads } = contents;
const inColour = kind.channels === 3;
const isDrawn = uploads.box !== null; // light on dark, as clothes and digits are; or a photograph

function decodeBytes(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let n = 0; n < bytes.length; n++) bytes[n] = text.charCodeAt(n);
  return bytes;
}

// Numbers of 32 bits, or of 16, as IEEE 754 has them, the lowest byte first.
function decodeParameters({ parameters, bits }) {
  const bytes = decodeBytes(parameters);
  if (bits === 32) return new Float32Array(bytes.buffer);
  return Float32Array.from(new Uint16Array(bytes.buffer), (half) => {
    const sign = half >> 15 ? -1 : 1;
    const exponent = (half >> 10) & 31;
    const fraction = (half & 1023) / 1024;
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction);
  });
}

// The test pictures: {label, values}.
function decodePictures({ pictures, labels }) {
  const bytes = decodeBytes(pictures);
  const n = kind.width * kind.height * kind.channels;
  return labels.map((label, k) => ({ label, values: bytes.subarray(k * n, (k + 1) * n) }));
}
