// What every program here is told, as the file `hub.args` of docs/integrate.md has it.

import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import grpc from '@grpc/grpc-js';
import { Client } from './client.mjs';
import { readHubKeys, readKey } from './signing.mjs';

/**
 * The client of `--hub --audience --hub-keys --key`, and `--ca` for a hub whose certificate the system does not trust;
 * with its hub keys and the options besides.
 */
export function connect(others = {}) {
  const names = ['hub', 'audience', 'hub-keys', 'key', ...Object.keys(others)];
  const options = Object.fromEntries([...names, 'ca'].map((name) => [name, { type: 'string' }]));
  const { values } = parseArgs({ options });
  const settings = { ...others, ...values };
  const missing = names.filter((name) => settings[name] === undefined);
  if (missing.length) throw new Error(`missing: --${missing.join(', --')}`);
  const hubKeys = readHubKeys(settings['hub-keys']);
  const key = readKey(settings.key);
  const credentials = settings.ca && grpc.credentials.createSsl(readFileSync(settings.ca));
  const client = new Client({ address: settings.hub, audience: settings.audience, key, hubKeys, credentials });
  return { client, hubKeys, settings };
}
