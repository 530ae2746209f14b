// SHA-256, SHA-512 (FIPS 180-4) and the verification of Ed25519 signatures (RFC 8032) for where WebCrypto has none.

type Bytes = Uint8Array<ArrayBufferLike>;

const MASK = (1n << 64n) - 1n;
const PRIMES = primes(80);
// The first 64 bits of the fractions of the primes' roots; SHA-256 takes the first 32 of them.
const CUBE_ROOTS = PRIMES.map((prime) => root(BigInt(prime) << 192n, 3n) & MASK);
const SQUARE_ROOTS = PRIMES.slice(0, 8).map((prime) => root(BigInt(prime) << 128n, 2n) & MASK);

function primes(count: number): number[] {
  const found: number[] = [];
  for (let n = 2; found.length < count; n++) if (found.every((prime) => n % prime)) found.push(n);
  return found;
}

/** The whole part of an n-th root, by bisection. */
function root(value: bigint, n: bigint): bigint {
  let [low, high] = [0n, 1n << 80n];
  while (high - low > 1n) {
    const middle = (low + high) >> 1n;
    if (middle ** n <= value) low = middle;
    else high = middle;
  }
  return low;
}

/** The message with a 1, zeros and its length in bits, in whole blocks. */
function padded(message: Bytes, block: number): Bytes {
  const bytes = new Uint8Array(Math.ceil((message.length + 1 + block / 8) / block) * block);
  bytes.set(message);
  bytes[message.length] = 0x80;
  new DataView(bytes.buffer).setBigUint64(bytes.length - 8, BigInt(message.length) * 8n);
  return bytes;
}

/** SHA-256 without WebCrypto. */
export function sha256Portable(message: Bytes): Bytes {
  const constants = Int32Array.from(CUBE_ROOTS.slice(0, 64), (bits) => Number(bits >> 32n));
  const state = Int32Array.from(SQUARE_ROOTS, (bits) => Number(bits >> 32n));
  const bytes = padded(message, 64);
  const view = new DataView(bytes.buffer);
  const words = new Int32Array(64);
  const turn = (x: number, n: number): number => (x >>> n) | (x << (32 - n));
  for (let start = 0; start < bytes.length; start += 64) {
    for (let i = 0; i < 16; i++) words[i] = view.getInt32(start + 4 * i);
    for (let i = 16; i < 64; i++) {
      const [a, b] = [words[i - 15], words[i - 2]];
      words[i] = words[i - 16] + (turn(a, 7) ^ turn(a, 18) ^ (a >>> 3))
        + words[i - 7] + (turn(b, 17) ^ turn(b, 19) ^ (b >>> 10));
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 64; i++) {
      const one = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + constants[i] + words[i]) | 0;
      const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((value, i) => (state[i] += value));
  }
  const digest = new DataView(new ArrayBuffer(32));
  state.forEach((word, i) => digest.setInt32(4 * i, word));
  return new Uint8Array(digest.buffer);
}

/** SHA-512. */
export function sha512(message: Bytes): Bytes {
  const state = [...SQUARE_ROOTS];
  const bytes = padded(message, 128);
  const view = new DataView(bytes.buffer);
  const words: bigint[] = new Array(80);
  const turn = (x: bigint, n: bigint): bigint => ((x >> n) | (x << (64n - n))) & MASK;
  for (let start = 0; start < bytes.length; start += 128) {
    for (let i = 0; i < 16; i++) words[i] = view.getBigUint64(start + 8 * i);
    for (let i = 16; i < 80; i++) {
      const [a, b] = [words[i - 15], words[i - 2]];
      const sum = (turn(a, 1n) ^ turn(a, 8n) ^ (a >> 7n)) + (turn(b, 19n) ^ turn(b, 61n) ^ (b >> 6n));
      words[i] = (words[i - 16] + words[i - 7] + sum) & MASK;
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 80; i++) {
      const choice = (e & f) ^ (~e & MASK & g);
      const one = h + (turn(e, 14n) ^ turn(e, 18n) ^ turn(e, 41n)) + choice + CUBE_ROOTS[i] + words[i];
      const two = (turn(a, 28n) ^ turn(a, 34n) ^ turn(a, 39n)) + ((a & b) ^ (a & c) ^ (b & c));
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) & MASK, c, b, a, (one + two) & MASK];
    }
    [a, b, c, d, e, f, g, h].forEach((value, i) => (state[i] = (state[i] + value) & MASK));
  }
  const digest = new DataView(new ArrayBuffer(64));
  state.forEach((word, i) => digest.setBigUint64(8 * i, word));
  return new Uint8Array(digest.buffer);
}

/** SHA-256 in hexadecimal, by WebCrypto where there is one. */
export async function sha256(message: Bytes): Promise<string> {
  const subtle = (globalThis as { crypto?: Crypto }).crypto?.subtle;
  const digest = subtle
    ? new Uint8Array(await subtle.digest("SHA-256", message as Uint8Array<ArrayBuffer>))
    : sha256Portable(message);
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// The curve -x^2 + y^2 = 1 + d x^2 y^2 over the integers modulo P; points are (X, Y, Z, T) with x = X/Z, y = Y/Z, xy = T/Z.
const P = (1n << 255n) - 19n;
const ORDER = (1n << 252n) + 27742317777372353535851937790883648493n;
const mod = (x: bigint): bigint => ((x % P) + P) % P;
const D = mod(-121665n * power(121666n, P - 2n));
const ROOT_OF_MINUS_ONE = power(2n, (P - 1n) / 4n);

type Point = [bigint, bigint, bigint, bigint];

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  for (let square = mod(base); exponent > 0n; exponent >>= 1n, square = mod(square * square)) {
    if (exponent & 1n) result = mod(result * square);
  }
  return result;
}

function add([x1, y1, z1, t1]: Point, [x2, y2, z2, t2]: Point): Point {
  const a = mod((y1 - x1) * (y2 - x2));
  const b = mod((y1 + x1) * (y2 + x2));
  const c = mod(2n * D * t1 * t2);
  const d = mod(2n * z1 * z2);
  const [e, f, g, h] = [b - a, d - c, d + c, b + a];
  return [mod(e * f), mod(g * h), mod(f * g), mod(e * h)];
}

function multiply(point: Point, factor: bigint): Point {
  let result: Point = [0n, 1n, 1n, 0n];
  for (let doubled = point; factor > 0n; factor >>= 1n, doubled = add(doubled, doubled)) {
    if (factor & 1n) result = add(result, doubled);
  }
  return result;
}

function toNumber(bytes: Bytes): bigint {
  return bytes.reduceRight((number, byte) => (number << 8n) | BigInt(byte), 0n);
}

/** The point that 32 bytes stand for, or null. */
function decode(bytes: Bytes): Point | null {
  const number = toNumber(bytes);
  const y = number & ((1n << 255n) - 1n);
  if (y >= P) return null;
  const [u, v] = [mod(y * y - 1n), mod(D * y * y + 1n)];
  let x = mod(u * v ** 3n * power(u * v ** 7n, (P - 5n) / 8n));
  if (mod(v * x * x) === mod(-u)) x = mod(x * ROOT_OF_MINUS_ONE);
  if (mod(v * x * x) !== u) return null;
  const sign = number >> 255n;
  if (x === 0n && sign === 1n) return null;
  if ((x & 1n) !== sign) x = P - x;
  return [x, y, 1n, mod(x * y)];
}

function encode([x, y, z]: Point): bigint {
  const inverse = power(z, P - 2n);
  return mod(y * inverse) | ((mod(x * inverse) & 1n) << 255n);
}

/** Whether an Ed25519 signature is the key's over these bytes. Nothing here is secret, so time may vary. */
export function isSignedBy(key: Bytes, signature: Bytes, message: Bytes): boolean {
  if (key.length !== 32 || signature.length !== 64) return false;
  const point = decode(key);
  const s = toNumber(signature.subarray(32));
  if (point === null || s >= ORDER) return false;
  const hashed = new Uint8Array(64 + message.length);
  hashed.set(signature.subarray(0, 32));
  hashed.set(key, 32);
  hashed.set(message, 64);
  const k = toNumber(sha512(hashed)) % ORDER;
  const y = mod(4n * power(5n, P - 2n));
  const base = decode(Uint8Array.from({ length: 32 }, (_, i) => Number((y >> BigInt(8 * i)) & 255n)))!;
  const [ax, ay, az, at] = point;
  const found = encode(add(multiply(base, s), multiply([P - ax, ay, az, P - at], k)));
  return found === toNumber(signature.subarray(0, 32));
}
