// The published verifier accepts what arrived, and nothing altered.
// argument: a file with [{secret, publicKey, headers, body (base64)}]
import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const need = createRequire(`${process.env.FANFARE_TEST_NODE_MODULES}/`);
const { Webhook } = need('standardwebhooks');

const arrivals = JSON.parse(readFileSync(process.argv[2], 'utf8'));

// The published verifier knows `v1` alone, so for `v1a` it is Node's own Ed25519.
function signedBy(publicKey, headers, text) {
  const x = Buffer.from(publicKey.replace(/^whpk_/, ''), 'base64').toString('base64url');
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  const message = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${text}`;
  const signatures = headers['webhook-signature'].split(' ').filter((one) => one.startsWith('v1a,'));
  const valid = (one) => verify(null, Buffer.from(message), key, Buffer.from(one.slice(4), 'base64'));
  return signatures.some(valid);
}

for (const { secret, publicKey, headers, body } of arrivals) {
  const text = Buffer.from(body, 'base64').toString('utf8');
  const webhook = new Webhook(secret);
  webhook.verify(text, headers);
  assert.throws(() => webhook.verify(`${text} `, headers));
  assert.ok(signedBy(publicKey, headers, text));
  assert.ok(!signedBy(publicKey, headers, `${text} `));
}
console.log(`${arrivals.length} verified`);
