// docs/protocol.md with Node's own crypto: how a request is signed, and how a receipt is checked. Nothing here speaks
// gRPC or reads messages: bytes and text only, so that a receipt can be checked without a hub.

import { createHash, createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';

const LIFE_SECONDS = 120;
const MAXIMUM_ENTRY_BYTES = 1024;
const REQUEST_COMPONENTS = '("@method" "@path" "content-digest" "tongdui-audience")';
const RECEIPT_COMPONENTS = '("content-digest" "@path";req "content-digest";req "signature-input";req;key="td")';
const RECEIPT_ENTRIES = ['content-digest', 'signature-input', 'signature'];
const EVIDENCE_FORMAT = 'tongdui-receipt-evidence-v1';

const TIME = '(?:0|[1-9][0-9]{0,11})';
const OWNER = '[a-z0-9][a-z0-9-]{0,31}';
const REQUEST_INPUT = grammar(
  `td=(${literal(REQUEST_COMPONENTS)};created=${TIME};expires=${TIME};keyid="${OWNER}\\.[\\w-]{43}";tag="tongdui-v1")`,
);
const RECEIPT_INPUT = grammar(
  `hub=(${literal(RECEIPT_COMPONENTS)};created=(${TIME});keyid="(hub\\.[\\w-]{43})";tag="tongdui-receipt-v1")`,
);
const RECEIPT_SIGNATURE = grammar('hub=:([A-Za-z0-9+/]{86}==):');

/** The receipt of an answer is missing, malformed, or not the hub's signature over this answer to this request. */
export class ReceiptInvalid extends Error {}

/**
 * Reads the partner's private key from a JWK file.
 * @returns {{keyId: string, privateKey: import('node:crypto').KeyObject}}
 */
export function readKey(file) {
  if (process.platform !== 'win32' && statSync(file).mode & 0o077) throw new Error(`${file}: others can read this key`);
  const jwk = JSON.parse(readFileSync(file, 'utf8'));
  const privateKey = createPrivateKey({ key: jwk, format: 'jwk' });
  const { x } = createPublicKey(privateKey).export({ format: 'jwk' });
  checkKeyId({ ...jwk, x }, OWNER);
  return { keyId: jwk.kid, privateKey };
}

/**
 * Reads the hub's public keys, a JWK set.
 * @returns {Map<string, import('node:crypto').KeyObject>} the keys by key id
 */
export function readHubKeys(file) {
  const { keys } = JSON.parse(readFileSync(file, 'utf8'));
  for (const jwk of keys) checkKeyId(jwk, 'hub');
  return new Map(keys.map((jwk) => [jwk.kid, createPublicKey({ key: jwk, format: 'jwk' })]));
}

function checkKeyId({ kid, kty, crv, x }, owner) {
  const thumbprint = createHash('sha256').update(`{"crv":"${crv}","kty":"${kty}","x":"${x}"}`).digest('base64url');
  if (kty !== 'OKP' || crv !== 'Ed25519' || !grammar(`${owner}\\.${thumbprint}`).test(kid)) {
    throw new Error(`not an Ed25519 key, or not named <owner>.<thumbprint>: ${kid}`);
  }
}

/**
 * Signs one try of a request. Sign every try afresh, over the same bytes.
 * @param {number} now Unix seconds
 * @returns {Record<string, string>} the four metadata entries
 */
export function signRequest({ path, message, audience, key, now = Math.floor(Date.now() / 1000) }) {
  const times = `created=${now};expires=${now + LIFE_SECONDS}`;
  const params = `${REQUEST_COMPONENTS};${times};keyid="${key.keyId}";tag="tongdui-v1"`;
  const digest = contentDigest(message);
  const base = [
    '"@method": POST',
    `"@path": ${path}`,
    `"content-digest": ${digest}`,
    `"tongdui-audience": ${audience}`,
    `"@signature-params": ${params}`,
  ].join('\n');
  const signature = sign(null, Buffer.from(base, 'ascii'), key.privateKey);
  return {
    'content-digest': digest,
    'tongdui-audience': audience,
    'signature-input': `td=${params}`,
    signature: `td=:${signature.toString('base64')}:`,
  };
}

/**
 * What counts in a dispute, as the one JSON object that a receipt file holds. It is not checked yet.
 * @param {Record<string, string>} requestEntries the metadata that this try was sent with
 * @param {Buffer} answer the response message's bytes, or those of the google.rpc.Status
 * @param {(name: string) => unknown[]} trailing gives all values of an entry of the trailing metadata
 * @throws {ReceiptInvalid} where the answer came without a receipt
 */
export function evidenceOf({ path, message, requestEntries, answer, trailing }) {
  const entries = RECEIPT_ENTRIES.map((name) => {
    const values = trailing(name);
    if (values.length !== 1) throw new ReceiptInvalid(`${values.length} entries ${name} instead of one`);
    return [name, String(values[0])];
  });
  return {
    format: EVIDENCE_FORMAT,
    path,
    request: message.toString('base64url'),
    request_entries: requestEntries,
    answer: answer.toString('base64url'),
    answer_entries: Object.fromEntries(entries),
  };
}

/**
 * Checks a receipt by nothing but itself and the hub's public keys: today, or in a dispute next year.
 * @param {ReturnType<typeof evidenceOf>} evidence
 * @param {ReturnType<typeof readHubKeys>} hubKeys
 * @returns {{path: string, request: Buffer, answer: Buffer, refused: boolean, time: Date, keyId: string}}
 * @throws {ReceiptInvalid}
 */
export function verifyEvidence(evidence, hubKeys) {
  if (evidence.format !== EVIDENCE_FORMAT) throw new ReceiptInvalid(`not a receipt of ours: ${evidence.format}`);
  const request = decoded(evidence, 'request', 'base64url');
  const answer = decoded(evidence, 'answer', 'base64url');
  const [sentParams] = matched(REQUEST_INPUT, 'signature-input', evidence.request_entries);
  const [params, created, keyId] = matched(RECEIPT_INPUT, 'signature-input', evidence.answer_entries);
  const [text] = matched(RECEIPT_SIGNATURE, 'signature', evidence.answer_entries);
  const signature = decoded({ signature: text }, 'signature', 'base64');
  const [sentDigest, digest] = [contentDigest(request), contentDigest(answer)];
  if (evidence.request_entries['content-digest'] !== sentDigest) throw new ReceiptInvalid('digest of another request');
  if (evidence.answer_entries['content-digest'] !== digest) throw new ReceiptInvalid('digest of another answer');
  const hubKey = hubKeys.get(keyId);
  if (!hubKey) throw new ReceiptInvalid(`signed by ${keyId}, which is no hub key known here`);
  const base = [
    `"content-digest": ${digest}`,
    `"@path";req: ${evidence.path}`,
    `"content-digest";req: ${sentDigest}`,
    `"signature-input";req;key="td": ${sentParams}`,
    `"@signature-params": ${params}`,
  ].join('\n');
  if (!verify(null, Buffer.from(base, 'ascii'), hubKey, signature)) {
    throw new ReceiptInvalid("not the hub's signature over this answer to this request");
  }
  return { path: evidence.path, request, answer, refused: isStatus(answer), time: new Date(created * 1000), keyId };
}

/** Whether the bytes of an answer to a write are a google.rpc.Status: only that has a number as field 1. */
function isStatus(answer) {
  return answer[0] === 0x08;
}

function contentDigest(bytes) {
  return `sha-256=:${createHash('sha256').update(bytes).digest('base64')}:`;
}

function matched(pattern, name, entries) {
  const value = entries?.[name];
  const found = typeof value === 'string' && value.length <= MAXIMUM_ENTRY_BYTES && pattern.exec(value);
  if (!found) throw new ReceiptInvalid(`${name} is not as docs/protocol.md has it`);
  return found.slice(1);
}

/** Buffer.from reads over what is not base64; so encode again, as bytes have one spelling. */
function decoded(fields, name, encoding) {
  const bytes = Buffer.from(String(fields[name]), encoding);
  if (bytes.toString(encoding) !== fields[name]) throw new ReceiptInvalid(`${name}: not ${encoding}`);
  return bytes;
}

function literal(text) {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

function grammar(pattern) {
  return new RegExp(`^${pattern}$`);
}
