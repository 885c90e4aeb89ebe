// The published verifier accepts what arrived, and nothing altered.
// argument: a file with [{secret, headers, body (base64)}]
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const need = createRequire(`${process.env.FANFARE_TEST_NODE_MODULES}/`);
const { Webhook } = need('standardwebhooks');

const arrivals = JSON.parse(readFileSync(process.argv[2], 'utf8'));
for (const { secret, headers, body } of arrivals) {
  const text = Buffer.from(body, 'base64').toString('utf8');
  const webhook = new Webhook(secret);
  webhook.verify(text, headers);
  assert.throws(() => webhook.verify(`${text} `, headers));
}
console.log(`${arrivals.length} verified`);
