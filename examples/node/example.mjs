// A customer buys, pays with points, asks for more than there are; an answer is asked for twice; and everything that
// the hub answered is checked from files alone. See README.md.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { newRequestId, Refused, timestamp } from './client.mjs';
import { connect } from './settings.mjs';
import { verifyEvidence } from './signing.mjs';

const { client, hubKeys, settings } = connect({ receipts: 'receipts' });
const files = [];

function keep(name, evidence) {
  mkdirSync(settings.receipts, { recursive: true });
  const file = join(settings.receipts, `${name}.json`);
  writeFileSync(file, JSON.stringify(evidence));
  files.push(file);
}

/** Sends until it is settled, and keeps the receipt: of a yes, or of a no. */
async function settled(name, prepared) {
  try {
    const { answer, evidence, replayed } = await client.settle(prepared);
    keep(name, evidence);
    return { answer, evidence, replayed };
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    keep(name, error.evidence);
    return { refused: error, evidence: error.evidence };
  }
}

async function main() {
  const customer = `node-${newRequestId()}`;
  const consent = { per_burn_limit_points: 1_000_000, per_day_limit_points: 1_000_000 };
  const enrolment = { request_id: newRequestId(), customer_id: customer, consent };
  const enrolled = await settled('enrolled', client.prepare('MembersService.EnrollMember', enrolment));
  if (enrolled.refused) throw enrolled.refused;
  const { member_id } = enrolled.answer;
  console.log('member', member_id);

  const at_the_till = () => ({
    request_id: newRequestId(),
    member_id,
    event_time: timestamp(),
    store_id: 'store-1',
    terminal_id: 'till-1',
    reference: newRequestId(),
  });

  // A program that may not lose a sale stores `sale.path` and `sale.message` before it goes on.
  const sale = client.prepare('PointsService.Earn', { ...at_the_till(), eligible_spend_minor: 12_800 });
  const earned = await settled('earned', sale);
  if (earned.refused) throw earned.refused;
  console.log('earned', earned.answer.points, 'available', earned.answer.available_points);

  const payment = client.prepare('PointsService.Burn', { ...at_the_till(), points: 100 });
  const burned = await settled('burned', payment);
  if (burned.refused) throw burned.refused;
  console.log('burned', burned.answer.points, 'available', burned.answer.available_points);

  const tooMuch = client.prepare('PointsService.Burn', { ...at_the_till(), points: 100_000 });
  const { refused, evidence: no } = await settled('refused', tooMuch);
  console.log('refused', refused.reason, 'available', refused.metadata.available_points);

  // Had the first answer been lost on its way: the same bytes again, signed afresh, get it.
  const again = await settled('earned-again', sale);
  assert.equal(again.replayed, true);
  assert.equal(again.evidence.answer, earned.evidence.answer, 'the first answer, byte for byte');
  const noAgain = await settled('refused-again', tooMuch);
  assert.equal(noAgain.evidence.answer, no.answer, 'the first refusal, byte for byte');
  console.log('replayed', 'earned', again.answer.points, 'refused', noAgain.refused.reason);

  const wallet = await client.read('PointsService.GetWallet', { member_id });
  console.log('wallet', wallet.available_points);

  // One answer for the lot: each command has a result of its own.
  const commands = [{ earn: { ...at_the_till(), points: 5 } }, { burn: { ...at_the_till(), points: 100_000 } }];
  const batch = await settled('batch', client.prepare('PointsService.PostBatch', { commands }));
  if (batch.refused) throw batch.refused;
  const [first, second] = batch.answer.results;
  console.log('batch', 'earned', first.earn.points, 'refused', client.explain(second.error).reason);

  await follow(member_id);
}

/** Reads the partner's entries from the beginning, until the last one of this member has come. */
async function follow(member_id) {
  let seen = [];
  for await (const { entries } of client.watchEntries()) {
    seen = seen.concat(entries.filter((entry) => entry.member_id === member_id));
    if (seen.length >= 3) break;
  }
  console.log('watched', ...seen.map((entry) => entry.kind));
}

try {
  await main();
} finally {
  client.close();
}

// From here on there is no hub: only files and its public keys.
for (const file of files) {
  const { path, refused } = verifyEvidence(JSON.parse(readFileSync(file, 'utf8')), hubKeys);
  console.log('verified', file, path, refused ? 'refused' : 'accepted');
}
