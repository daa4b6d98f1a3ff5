// Unpacks the numbers of a page. `packed.rs` defines the encoding.

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

function numbersOf(text) {
  const numbers = [];
  let value = 0;
  let shift = 1;
  for (const byte of bytesOf(text)) {
    value += (byte & 127) * shift;
    shift *= 128;
    if (byte < 128) {
      numbers.push(value);
      value = 0;
      shift = 1;
    }
  }
  return numbers;
}

function unpacked(text) {
  const packed = bytesOf(text);
  const bytes = [];
  for (let at = 0; at < packed.length; ) {
    const n = packed[at];
    if (n < 128) {
      bytes.push(...packed.subarray(at + 1, at + 2 + n));
      at += n + 2;
    } else {
      for (let i = 0; i < n - 125; i += 1) bytes.push(packed[at + 1]);
      at += 2;
    }
  }
  return bytes;
}

