// The worked example of docs/protocol.md, byte for byte. Needs no hub and no package: node --test signing.test.mjs

import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { evidenceOf, readHubKeys, readKey, ReceiptInvalid, signRequest, verifyEvidence } from './signing.mjs';

const example = JSON.parse(readFileSync(new URL('../../tests/wire/signing_example.json', import.meta.url), 'utf8'));
const path = example.request.path;
const message = Buffer.from(example.request.message_hex, 'hex');
const requestEntries = Object.fromEntries(example.request.metadata);
const answer = Buffer.from(example.receipt.response_hex, 'hex');
const answerEntries = Object.fromEntries(example.receipt.trailing_metadata);
const hubKeys = new Map([[example.hub_key.keyid, createPublicKey({ key: jwkOf(example.hub_key), format: 'jwk' })]]);

function jwkOf({ keyid, public_hex, seed_hex }) {
  const text = (hex) => Buffer.from(hex, 'hex').toString('base64url');
  return { kty: 'OKP', crv: 'Ed25519', kid: keyid, x: text(public_hex), d: text(seed_hex) };
}

function evidence(changes = {}) {
  const trailing = (name) => [answerEntries[name]];
  return { ...evidenceOf({ path, message, requestEntries, answer, trailing }), ...changes };
}

function inFile(t, value, mode = 0o600) {
  const folder = mkdtempSync(join(tmpdir(), 'tongdui-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'file.json');
  writeFileSync(file, JSON.stringify(value));
  chmodSync(file, mode);
  return file;
}

test('a request is signed as the example has it', () => {
  const key = {
    keyId: example.partner_key.keyid,
    privateKey: createPrivateKey({ key: jwkOf(example.partner_key), format: 'jwk' }),
  };
  const audience = requestEntries['tongdui-audience'];

  const signed = signRequest({ path, message, audience, key, now: 1767225600 });

  assert.deepEqual(signed, requestEntries);
});

test('the receipt of the example verifies', () => {
  const { refused, time, keyId } = verifyEvidence(evidence(), hubKeys);

  assert.equal(refused, false);
  assert.equal(time.getTime(), 1767225601000);
  assert.equal(keyId, example.hub_key.keyid);
});

test('a receipt with one character changed anywhere does not verify', () => {
  const text = JSON.stringify(evidence());
  let tried = 0;
  for (let at = text.indexOf('"path"'); at < text.length; at += 1) {
    const changed = text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) ^ 1) + text.slice(at + 1);
    const parsed = jsonOrNothing(changed);
    if (!parsed || isNotSigned(at, text)) continue;
    tried += 1;
    assert.throws(() => verifyEvidence(parsed, hubKeys), ReceiptInvalid, changed);
  }
  assert.ok(tried > 700, `${tried} changes tried`);
});

/** The audience and the partner's signature are not covered by the receipt. */
function isNotSigned(at, text) {
  const from = text.indexOf('"request_entries"');
  const parts = ['tongdui-audience', 'signature'].map((name) => {
    const start = text.indexOf(`"${name}":`, from);
    return [start, text.indexOf(',', start)];
  });
  return parts.some(([start, end]) => start <= at && at <= end);
}

function jsonOrNothing(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // a change of the file's form, which any reader notices
  }
}

test('a signature in another spelling of base64 does not verify', () => {
  const signature = answerEntries.signature.replace('A==:', 'B==:'); // the same 64 bytes to a lenient reader
  assert.notEqual(signature, answerEntries.signature);

  const other = evidence({ answer_entries: { ...answerEntries, signature } });

  assert.throws(() => verifyEvidence(other, hubKeys), ReceiptInvalid);
});

test('a receipt by a hub key that is not known does not verify', () => {
  assert.throws(() => verifyEvidence(evidence(), new Map()), ReceiptInvalid);
});

test('an entry that is missing or there twice is no receipt', () => {
  for (const count of [0, 2]) {
    const trailing = (name) => Array(name === 'signature' ? count : 1).fill(answerEntries[name]);
    const collect = () => evidenceOf({ path, message, requestEntries, answer, trailing });
    assert.throws(collect, ReceiptInvalid);
  }
});

test('keys are read from the files of the command line, and only where they name themselves rightly', (t) => {
  const jwk = jwkOf(example.partner_key);
  assert.equal(readKey(inFile(t, jwk)).keyId, example.partner_key.keyid);
  assert.throws(() => readKey(inFile(t, jwk, 0o644)), /others can read/);
  assert.throws(() => readKey(inFile(t, { ...jwk, kid: example.hub_key.keyid })), /not named/);
  const { d: _, ...hubKey } = jwkOf(example.hub_key);
  assert.deepEqual([...readHubKeys(inFile(t, { keys: [hubKey] })).keys()], [example.hub_key.keyid]);
  assert.throws(() => readHubKeys(inFile(t, { keys: [{ ...hubKey, x: jwk.x }] })), /not named/);
});
