/**
 * A certificate of one's own for tests of TLS, made by hand, since Node.js can sign and not write X.509, and a program that can need not be installed. A key of P-256, signed by itself, for
 * `localhost` and 127.0.0.1, good from yesterday on for ten years. RFC 5280, section 4.1.
 */
import { generateKeyPairSync, sign } from 'node:crypto';

const DAY_MS = 86_400_000;

/** One value of DER: tag, length, content. */
function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  const head =
    length < 0x80 ? [tag, length] : length < 0x100 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(head), content]);
}

const sequence = (...parts: readonly Uint8Array[]): Buffer => der(0x30, ...parts);
const hex = (text: string): Buffer => Buffer.from(text, 'hex');
/** `YYYYMMDDHHMMSSZ` */
const time = (ms: number): Buffer =>
  der(0x18, Buffer.from(`${new Date(ms).toISOString().replaceAll(/[-:T]/g, '').slice(0, 14)}Z`));

/** ecdsa-with-SHA256; commonName; subjectAltName */
const SIGNED_BY = sequence(der(0x06, hex('2a8648ce3d040302')));
const NAME = sequence(der(0x31, sequence(der(0x06, hex('550403')), der(0x0c, Buffer.from('localhost')))));
const NAMES = sequence(
  der(0x06, hex('551d11')),
  der(0x04, sequence(der(0x82, Buffer.from('localhost')), der(0x87, Buffer.from([127, 0, 0, 1])))),
);

/** PEM of both. */
export function selfSigned(): { readonly cert: string; readonly key: string } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const nowMs = Date.now();
  const body = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.from([1])),
    SIGNED_BY,
    NAME,
    sequence(time(nowMs - DAY_MS), time(nowMs + 3650 * DAY_MS)),
    NAME,
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(NAMES)),
  );
  const signature = sign('sha256', body, privateKey);
  const cert = sequence(body, SIGNED_BY, der(0x03, Buffer.from([0]), signature));
  const lines = cert.toString('base64').replaceAll(/.{1,64}/g, '$&\n');
  return {
    cert: `-----BEGIN CERTIFICATE-----\n${lines}-----END CERTIFICATE-----\n`,
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  };
}
