// A client of the hub: every method of the contract, signed on the way out and verified on the way in.

import { randomBytes } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';
import { evidenceOf, ReceiptInvalid, signRequest, verifyEvidence } from './signing.mjs';

const FOLDERS = ['../../proto', '.'].map((folder) => fileURLToPath(new URL(folder, import.meta.url)));
const SERVICES = ['points_service', 'members_service', 'journal_service'];
const FILES = SERVICES.map((name) => `tongdui/exchange/v1/${name}.proto`);
// Not imported by the contract: they come inside google.rpc.Status as google.protobuf.Any.
const DETAILS = 'google/rpc/error_details.proto';
const READS = /^(Get|List|Watch|Preview)|^Quote$/;
const LOOPBACK = /^(unix:|localhost:|127(\.\d{1,3}){3}:|\[::1\]:)/;
const WHOLE = /^-?\d+$/;

/**
 * Reads proto/. The names of fields stay as they are written there: with the loader's default they would become
 * camelCase, and a message written with the names of the contract would be sent without them.
 */
export function loadContract(options = { keepCase: true, longs: String, enums: String, defaults: true, oneofs: true }) {
  return loader.loadSync([...FILES, DETAILS], { ...options, includeDirs: FOLDERS });
}

/** What an error of a call says: `code`, and from the hub `reason`, `metadata`, `fields`, `retryAfterSeconds`. */
export class HubError extends Error {
  constructor({ message, ...status }, options) {
    super(status.reason ? `${status.reason}: ${message}` : message, options);
    Object.assign(this, status, { name: new.target.name });
  }
}

/** The hub's signed no to a write; `evidence` proves it. docs/errors.md says by `reason` what to do. */
export class Refused extends HubError {}

/**
 * Nobody knows what became of a write: no answer, or none that proves anything (then `cause` says why). Keep the
 * `Prepared` and send it again: whatever was decided, its answer comes.
 */
export class NotSettled extends HubError {}

/** What to store before the first try: the very bytes that are sent, then and later. */
export class Prepared {
  constructor(path, message) {
    this.path = path;
    this.message = message;
  }
}

export class Client {
  #contract;
  #channel;
  #hubKeys;
  #identity;

  /**
   * @param {string} address `host:port`; plain text on this machine, TLS to any other
   * @param {string} audience the hub's name
   * @param {object} key of readKey
   * @param {Map} hubKeys of readHubKeys
   */
  constructor({ address, audience, key, hubKeys, credentials = credentialsFor(address), contract = loadContract() }) {
    this.#contract = contract;
    this.#identity = { audience, key };
    this.#hubKeys = hubKeys;
    // A retry inside gRPC would send an old signature.
    this.#channel = new grpc.Client(address, credentials, { 'grpc.enable_retries': 0 });
  }

  close() {
    this.#channel.close();
  }

  /** Serialises a request, once. `method` is `PointsService.Earn` and the like. */
  prepare(method, request) {
    const { path, requestSerialize, requestType } = this.#method(method);
    checkFields(this.#contract, requestType.type, scopeOf(path), request);
    return new Prepared(path, requestSerialize(request));
  }

  /**
   * Sends a write, or sends it again.
   * @returns {Promise<{answer: object, evidence: object, replayed: boolean}>} the hub's signed yes
   * @throws {Refused} the hub's signed no
   * @throws {NotSettled} neither
   */
  async send(prepared, { deadlineSeconds = 10 } = {}) {
    const entries = signRequest({ ...prepared, ...this.#identity });
    const { error, body, trailing } = await this.#exchange(prepared, entries, deadlineSeconds);
    let status;
    let evidence;
    let answer;
    try {
      status = error && this.#status(error);
      const signed = { answer: error ? status.body : body, trailing: (name) => trailing.get(name) };
      evidence = evidenceOf({ ...prepared, requestEntries: entries, ...signed });
      // The receipt signs bytes, and not what gRPC says about them.
      const { refused } = verifyEvidence(evidence, this.#hubKeys);
      if (refused !== Boolean(error)) throw new ReceiptInvalid('a no sent as a yes, or a yes as a no');
      if (!error) answer = this.#method(prepared.path).responseDeserialize(body);
    } catch (cause) {
      // Whatever is wrong with the answer, the request is out.
      throw new NotSettled(status ?? { message: cause.message }, { cause });
    }
    if (error) throw new Refused({ ...status, evidence });
    return { answer, evidence, replayed: trailing.get('tongdui-replayed').length > 0 };
  }

  /**
   * Sends a write until it is settled. Gives up, with the error of the last try, after `giveUpSeconds`, and at once
   * where waiting would not help: the caller is not trusted, or the answer is not to be. The command is kept then too.
   */
  async settle(prepared, { giveUpSeconds = 60, deadlineSeconds } = {}) {
    const end = Date.now() + giveUpSeconds * 1000;
    for (let pause = 0.2; ; pause = Math.min(2 * pause, 10)) {
      try {
        return await this.send(prepared, { deadlineSeconds });
      } catch (error) {
        const unknown = error instanceof NotSettled && error.code && error.code !== 'UNAUTHENTICATED';
        const again = unknown || error.reason === 'HUB_BUSY';
        const seconds = Math.max(error.retryAfterSeconds ?? 0, pause * (0.5 + Math.random()));
        if (!again || Date.now() + seconds * 1000 > end) throw error;
        await setTimeout(seconds * 1000);
      }
    }
  }

  /** Prepares and sends a write. A program that must not lose it stores the prepared one in between. */
  write(method, request, options) {
    return this.send(this.prepare(method, request), options);
  }

  /** Asks for something. Reads have no receipt. */
  async read(method, request, { deadlineSeconds = 10 } = {}) {
    const prepared = this.prepare(method, request);
    if (!READS.test(prepared.path.split('/')[2])) throw new TypeError(`${method} is a write: use send`);
    const entries = signRequest({ ...prepared, ...this.#identity });
    const { error, body } = await this.#exchange(prepared, entries, deadlineSeconds);
    if (error) throw new HubError(this.#status(error));
    return this.#method(method).responseDeserialize(body);
  }

  /**
   * Follows the journal for ever: responses with `entries` and the `cursor` to keep with them. The next one is not
   * read before the loop asks for it. When the stream breaks, call again with the last cursor kept.
   */
  async *watchEntries(after) {
    const method = 'JournalService.WatchEntries';
    const prepared = this.prepare(method, after ? { after } : {});
    const metadata = metadataOf(signRequest({ ...prepared, ...this.#identity }));
    const call = this.#channel.makeServerStreamRequest(prepared.path, asBytes, asBytes, prepared.message, metadata);
    try {
      for await (const body of call) yield this.#method(method).responseDeserialize(body);
    } catch (error) {
      throw error.metadata ? new HubError(this.#status(error)) : error;
    } finally {
      call.on('error', () => {}); // cancelling it ourselves is no error
      call.cancel();
    }
  }

  #exchange({ path, message }, entries, deadlineSeconds) {
    const options = { deadline: Date.now() + deadlineSeconds * 1000 };
    return new Promise((resolve) => {
      let result;
      const done = (error, body) => (result = { error, body });
      const call = this.#channel.makeUnaryRequest(path, asBytes, asBytes, message, metadataOf(entries), options, done);
      // Comes after `done`, and is the only one to have the trailing metadata of an answer.
      call.on('status', ({ metadata }) => resolve({ ...result, trailing: metadata }));
    });
  }

  #method(name) {
    const [service, method] = name.split(/[./]/).slice(-2);
    const found = this.#contract[`tongdui.exchange.v1.${service}`]?.[method];
    if (!found) throw new TypeError(`no such method: ${name}`);
    return found;
  }

  /** What a google.rpc.Status says: that of an error, or the `error` of one command of a batch. */
  explain({ code, message, details }) {
    const detail = (name) => {
      const any = details.find(({ type_url: type }) => type === `type.googleapis.com/google.rpc.${name}`);
      return any && this.#contract[`google.rpc.${name}`].deserialize(any.value);
    };
    const { reason, metadata } = detail('ErrorInfo') ?? {};
    const fields = detail('BadRequest')?.field_violations.map(({ field }) => field) ?? [];
    const delay = detail('RetryInfo')?.retry_delay;
    const retryAfterSeconds = delay ? Number(delay.seconds) + delay.nanos / 1e9 : undefined;
    return { code: grpc.status[code], message, reason, metadata, fields, retryAfterSeconds };
  }

  /** The same of a failed call, with the bytes that a receipt signs; little where gRPC itself failed. */
  #status(error) {
    const [body] = error.metadata.get('grpc-status-details-bin');
    if (!body) return { code: grpc.status[error.code], message: error.details, body: Buffer.alloc(0) };
    return { ...this.explain(this.#contract['google.rpc.Status'].deserialize(body)), body };
  }
}

/** A request id: a UUIDv7, whose order in time is kind to the hub. */
export function newRequestId(now = Date.now()) {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(now, 0, 6);
  bytes[6] = 0x70 | (bytes[6] & 0x0f);
  bytes[8] = 0x80 | (bytes[8] & 0x3f);
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** A google.protobuf.Timestamp. */
export function timestamp(date = new Date()) {
  const milliseconds = date.getTime();
  const seconds = Math.floor(milliseconds / 1000);
  return { seconds, nanos: (milliseconds - seconds * 1000) * 1_000_000 };
}

/**
 * The loader silently leaves out a field whose name it does not know, and cuts numbers to size: 1.15 * 100 would be
 * sent as 114. So we look first.
 * @throws {TypeError} naming the field
 */
function checkFields(contract, type, scope, value, at = '') {
  if (Object.getPrototypeOf(value) !== Object.prototype) throw new TypeError(`${at || type.name}: not a plain object`);
  for (const [name, part] of Object.entries(value)) {
    const field = type.field.find((one) => one.name === name);
    if (!field) throw new TypeError(`${type.name} has no field ${at}${name}`);
    for (const one of [part ?? []].flat()) {
      if (field.type === 'TYPE_MESSAGE') {
        checkFields(contract, typeOf(contract, field.typeName, scope).type, scope, one, `${at}${name}.`);
      } else if (/INT/.test(field.type) && !Number.isSafeInteger(one) && !WHOLE.test(one)) {
        throw new TypeError(`${at}${name}: not a whole number: ${one}`);
      }
    }
  }
}

function typeOf(contract, name, scope) {
  return contract[name] ?? contract[`${scope}.${name}`];
}

function scopeOf(path) {
  return path.slice(1, path.lastIndexOf('.'));
}

function credentialsFor(address) {
  return LOOPBACK.test(address) ? grpc.credentials.createInsecure() : grpc.credentials.createSsl();
}

function metadataOf(entries) {
  const metadata = new grpc.Metadata();
  for (const [name, value] of Object.entries(entries)) metadata.set(name, value);
  return metadata;
}

function asBytes(bytes) {
  return bytes;
}
