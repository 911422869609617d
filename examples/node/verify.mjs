// Checks receipts from files and the hub's public keys alone: node verify.mjs --hub-keys=FILE RECEIPT...

import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { readHubKeys, verifyEvidence } from './signing.mjs';

const { values, positionals } = parseArgs({ options: { 'hub-keys': { type: 'string' } }, allowPositionals: true });
const hubKeys = readHubKeys(values['hub-keys']);
for (const file of positionals) {
  try {
    const { path, refused, time } = verifyEvidence(JSON.parse(readFileSync(file, 'utf8')), hubKeys);
    console.log(file, path, refused ? 'refused' : 'accepted', time.toISOString());
  } catch (error) {
    process.exitCode = 1;
    console.error(file, error.message);
  }
}
