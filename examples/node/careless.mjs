// What not to do: a client that leaves the loader's options as they are. The loader then knows `memberId` and not
// `member_id`, and sends a message written with the names of the contract without those fields, with no word about it.
// The signature is good; it is the hub that refuses, as INVALID_ARGUMENT, and posts nothing.

import assert from 'node:assert/strict';
import { loadContract, newRequestId, Prepared, Refused, timestamp } from './client.mjs';
import { connect } from './settings.mjs';

const contract = loadContract({}); // no keepCase
const { client } = connect();

/** As a careless client does it: whatever the loader makes of the request. */
function prepare(service, method, request) {
  const { path, requestSerialize } = contract[`tongdui.exchange.v1.${service}`][method];
  return new Prepared(path, requestSerialize(request));
}

async function refusal(prepared) {
  try {
    await client.send(prepared);
  } catch (error) {
    if (error instanceof Refused) return error;
    throw error;
  }
  return assert.fail(`${prepared.path} was accepted`);
}

const earn = {
  request_id: newRequestId(),
  member_id: 'm-0000000000001',
  event_time: timestamp(),
  store_id: 'store-1',
  terminal_id: 'till-1',
  reference: 'receipt-1',
  points: 100,
};
const { request_id, member_id } = earn;
const enrolment = { request_id, customer_id: 'customer-1' };
const consent = { per_burn_limit_points: 1000, per_day_limit_points: 1000 };

try {
  for (const [service, method, request] of [
    ['PointsService', 'Earn', { request_id, member_id, eligible_spend_minor: 12_800 }],
    ['PointsService', 'Earn', earn],
    ['PointsService', 'Burn', { ...earn, points: 1 }],
    ['PointsService', 'Transfer', { ...earn, to_member_id: 'm-0000000000002' }],
    ['PointsService', 'PostBatch', {}],
    ['MembersService', 'EnrollMember', enrolment],
    ['MembersService', 'SetConsent', { request_id, member_id, consent }],
  ]) {
    const prepared = prepare(service, method, request);
    const { code, reason, fields } = await refusal(prepared);
    assert.equal(code, 'INVALID_ARGUMENT');
    console.log(method, prepared.message.length, 'bytes', code, reason, ...fields);
  }

  // A batch is an answer; each of its commands has its own.
  const careless = [{ earn }, { burn: earn }, { claw_back_earn: earn }];
  const { answer } = await client.send(prepare('PointsService', 'PostBatch', { commands: careless }));
  for (const { error } of answer.results) {
    const { code, reason, fields } = client.explain(error);
    assert.equal(code, 'INVALID_ARGUMENT');
    console.log('PostBatch', code, reason, ...fields);
  }
} finally {
  client.close();
}
