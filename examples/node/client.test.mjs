// What a client must not believe, from a hub that is played here: node --test client.test.mjs

import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { after, before, test } from 'node:test';
import grpc from '@grpc/grpc-js';
import { Client, loadContract, NotSettled, Refused } from './client.mjs';
import { ReceiptInvalid } from './signing.mjs';

const contract = loadContract();
const { path, responseSerialize } = contract['tongdui.exchange.v1.PointsService'].Earn;
const earn = { request_id: 'r-1', member_id: 'm-1', points: 10 };
const yes = responseSerialize({ entry_id: '7-0', points: 10 });
const errorInfo = contract['google.rpc.ErrorInfo'].serialize({ reason: 'MEMBER_UNKNOWN', domain: 'tongdui' });
const no = contract['google.rpc.Status'].serialize({
  code: grpc.status.NOT_FOUND,
  message: 'no such member',
  details: [{ type_url: 'type.googleapis.com/google.rpc.ErrorInfo', value: errorInfo }],
});

const hub = newKey('hub');
const cafe = newKey('cafe');
let server;
let client;
let play; // (call, reply) of the test that runs

before(async () => {
  server = new grpc.Server();
  const asBytes = (bytes) => bytes;
  const form = { requestSerialize: asBytes, requestDeserialize: asBytes, responseSerialize: asBytes };
  const method = { ...form, path, requestStream: false, responseStream: false, responseDeserialize: asBytes };
  server.addService({ Earn: method }, { Earn: (call, reply) => play(call, reply) });
  const bind = (resolve, reject) =>
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) =>
      error ? reject(error) : resolve(port),
    );
  const port = await new Promise(bind);
  client = open(`127.0.0.1:${port}`);
});

after(() => {
  client.close();
  server.forceShutdown();
});

function newKey(owner) {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const { x } = publicKey.export({ format: 'jwk' });
  const thumbprint = createHash('sha256').update(`{"crv":"Ed25519","kty":"OKP","x":"${x}"}`).digest('base64url');
  return { keyId: `${owner}.${thumbprint}`, privateKey, publicKey };
}

function open(address) {
  const hubKeys = new Map([[hub.keyId, hub.publicKey]]);
  return new Client({ address, audience: 'hub.example/test', key: cafe, hubKeys });
}

const digestOf = (bytes) => `sha-256=:${createHash('sha256').update(bytes).digest('base64')}:`;

/** The receipt of docs/protocol.md over this answer to this call. */
function receipt(call, answer, { sentInput = call.metadata.get('signature-input')[0], key = hub } = {}) {
  const components = '("content-digest" "@path";req "content-digest";req "signature-input";req;key="td")';
  const params = `${components};created=1767225601;keyid="${key.keyId}";tag="tongdui-receipt-v1"`;
  const base = [
    `"content-digest": ${digestOf(answer)}`,
    `"@path";req: ${path}`,
    `"content-digest";req: ${digestOf(call.request)}`,
    `"signature-input";req;key="td": ${sentInput.slice('td='.length)}`,
    `"@signature-params": ${params}`,
  ].join('\n');
  const metadata = new grpc.Metadata();
  metadata.set('content-digest', digestOf(answer));
  metadata.set('signature-input', `hub=${params}`);
  metadata.set('signature', `hub=:${sign(null, Buffer.from(base), key.privateKey).toString('base64')}:`);
  return metadata;
}

function refuse(reply, status, metadata, code = grpc.status.NOT_FOUND) {
  metadata.set('grpc-status-details-bin', status);
  reply({ code, details: 'no such member', metadata });
}

test("the hub's signed yes is an answer", async () => {
  play = (call, reply) => reply(null, yes, receipt(call, yes));

  const { answer, replayed } = await client.write('PointsService.Earn', earn);

  assert.deepEqual([answer.entry_id, answer.points, replayed], ['7-0', '10', false]);
});

test("the hub's signed no is a refusal with its reason", async () => {
  play = (call, reply) => refuse(reply, no, receipt(call, no));

  await assert.rejects(client.write('PointsService.Earn', earn), (error) => {
    assert.ok(error instanceof Refused);
    assert.deepEqual([error.code, error.reason], ['NOT_FOUND', 'MEMBER_UNKNOWN']);
    return true;
  });
});

const old = 'td=("@method" "@path" "content-digest" "tongdui-audience");created=1;expires=2;keyid="x";tag="tongdui-v1"';
const lies = {
  'a yes without a receipt': (call, reply) => reply(null, yes),
  'a no without a receipt': (call, reply) => refuse(reply, no, new grpc.Metadata()),
  'a yes under the receipt of another answer': (call, reply) => reply(null, yes, receipt(call, no)),
  'a yes under the receipt of another try': (call, reply) => reply(null, yes, receipt(call, yes, { sentInput: old })),
  'a yes signed by a stranger': (call, reply) => reply(null, yes, receipt(call, yes, { key: newKey('hub') })),
  'a yes signed by ourselves': (call, reply) => reply(null, yes, receipt(call, yes, { key: cafe })),
  'a signed no sent as a yes': (call, reply) => reply(null, no, receipt(call, no)),
  // An answer without a value has no bytes, and reads as a status too.
  'a signed yes sent as a no': (call, reply) => refuse(reply, Buffer.alloc(0), receipt(call, Buffer.alloc(0))),
};
for (const [name, lie] of Object.entries(lies)) {
  test(`${name} settles nothing`, async () => {
    play = lie;

    await assert.rejects(client.write('PointsService.Earn', earn), (error) => {
      assert.ok(error instanceof NotSettled);
      assert.ok(error.cause instanceof ReceiptInvalid, error.cause);
      return true;
    });
  });
}

test('no hub settles nothing', async () => {
  const alone = open('127.0.0.1:1');

  await assert.rejects(alone.write('PointsService.Earn', earn), { name: 'NotSettled', code: 'UNAVAILABLE' });

  alone.close();
});

test('a command is sent again until it is settled, the same bytes each time', async () => {
  const seen = [];
  play = (call, reply) => {
    seen.push(call.request.toString('hex'));
    if (seen.length < 3) reply({ code: grpc.status.UNAVAILABLE, details: 'the answer is lost' });
    else reply(null, yes, receipt(call, yes));
  };
  const prepared = client.prepare('PointsService.Earn', earn);

  const { answer } = await client.settle(prepared);

  assert.equal(answer.entry_id, '7-0');
  assert.deepEqual(seen, Array(3).fill(prepared.message.toString('hex')));
});

test('what the loader would drop or bend is not sent', () => {
  for (const [request, message] of [
    [{ requestId: 'r-1' }, /EarnRequest has no field requestId/],
    [{ event_time: new Date() }, /event_time\.: not a plain object/],
    [{ eligible_spend_minor: 1.15 * 100 }, /eligible_spend_minor: not a whole number/],
    [{ points: NaN }, /points: not a whole number/],
    [{ expiry_date: { year: 2026, Month: 1 } }, /Date has no field expiry_date\.Month/],
  ]) {
    assert.throws(() => client.prepare('PointsService.Earn', request), { name: 'TypeError', message });
  }
  const batch = { commands: [{ earn }, { clawBackEarn: {} }] };
  assert.throws(() => client.prepare('PointsService.PostBatch', batch), /Command has no field commands\.clawBackEarn/);
});
