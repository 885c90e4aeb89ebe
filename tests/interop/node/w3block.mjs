// W3Block's published client, unchanged, performs all eight operations.
// env: BASE_URL, TOKEN, COMPANY, RECEIVER, FANFARE_TEST_NODE_MODULES
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const need = createRequire(`${process.env.FANFARE_TEST_NODE_MODULES}/`);
const { Api } = need('@w3block/sdk-commerce');
const { BASE_URL, TOKEN, COMPANY, RECEIVER } = process.env;

const api = new Api({
  baseURL: BASE_URL,
  secure: true,
  securityWorker: (token) => ({ headers: { Authorization: `Bearer ${token}` } }),
});
api.setSecurityData(TOKEN);

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

function assertCompany(company) {
  assert.equal(company.id, COMPANY);
  assert.match(company.createdAt, TIME);
  assert.match(company.updatedAt, TIME);
  assert.equal(company.name, '');
}

function assertConfiguration(configuration) {
  assert.match(configuration.id, UUID);
  assert.match(configuration.createdAt, TIME);
  assert.match(configuration.updatedAt, TIME);
  assert.equal(configuration.companyId, COMPANY);
  assertCompany(configuration.company);
  assert.equal(typeof configuration.webhookUrl, 'string');
  assert.match(configuration.signatureKey, /^whsec_[A-Za-z0-9+/]{43}=$/);
  assert.ok(Number.isInteger(configuration.maxRetries));
  assert.equal(typeof configuration.disabled, 'boolean');
}

function assertWebhook(webhook, configuration) {
  assert.match(webhook.id, UUID);
  assert.match(webhook.createdAt, TIME);
  assert.match(webhook.updatedAt, TIME);
  assert.equal(webhook.companyId, COMPANY);
  assertCompany(webhook.company);
  assert.equal(webhook.configurationId, configuration.id);
  assertConfiguration(webhook.configuration);
  assert.ok(['sending', 'concluded', 'failed'].includes(webhook.status));
  assert.ok(Number.isInteger(webhook.errors));
  assert.equal(typeof webhook.data.url, 'string');
  assert.equal(typeof webhook.data.headers, 'object');
  assert.equal(typeof webhook.data.body, 'object');
  assert.equal(typeof webhook.lastResult, 'object');
  for (const flag of ['usePatch', 'updateWithSystemHeaders', 'addCreatedAtToBody']) {
    assert.equal(webhook[flag], false);
  }
}

function assertPage(page, items) {
  assert.equal(page.items.length, items);
  assert.equal(page.meta.itemCount, items);
  for (const field of ['totalItems', 'itemsPerPage', 'totalPages', 'currentPage']) {
    assert.ok(Number.isInteger(page.meta[field]), field);
  }
  for (const link of ['first', 'prev', 'next', 'last']) {
    assert.equal(typeof page.links[link], 'string', link);
  }
}

const created = await api.admin.createWebhooksConfiguration(COMPANY, { webhookUrl: RECEIVER });
assert.equal(created.status, 201);
assertConfiguration(created.data);
assert.equal(created.data.maxRetries, 5);
const configuration = created.data;

const shown = await api.admin.getWebhookConfiguration(COMPANY, configuration.id);
assert.equal(shown.status, 200);
assert.deepEqual(shown.data, configuration);

const updated = await api.admin.updateWebhooksConfiguration(COMPANY, configuration.id, {
  webhookUrl: `${RECEIVER}?shop=1`,
  maxRetries: 3,
});
assert.equal(updated.status, 200);
assertConfiguration(updated.data);
assert.equal(updated.data.webhookUrl, `${RECEIVER}?shop=1`);
assert.equal(updated.data.maxRetries, 3);
assert.equal(updated.data.signatureKey, configuration.signatureKey);

const disabled = await api.admin.disableWebhooksConfiguration(COMPANY, configuration.id);
assert.equal(disabled.status, 204);
const off = await api.admin.getWebhookConfiguration(COMPANY, configuration.id);
assert.equal(off.data.disabled, true);
const enabled = await api.admin.enableWebhooksConfiguration(COMPANY, configuration.id);
assert.equal(enabled.status, 204);
const on = await api.admin.getWebhookConfiguration(COMPANY, configuration.id);
assert.equal(on.data.disabled, false);

const emitted = await fetch(`${BASE_URL}/v1/companies/${COMPANY}/events`, {
  method: 'POST',
  headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' },
  body: JSON.stringify({ type: 'ORDER_CREATED', data: { total: '19.90' } }),
});
assert.equal(emitted.status, 202);

let sent;
do {
  sent = await api.admin.listWebhooksConfigurationWebhooks(COMPANY, configuration.id, {
    page: 1,
    limit: 10,
    search: 'order.created',
    sortBy: 'createdAt',
    orderBy: 'DESC',
  });
} while (sent.data.items[0].status === 'sending');
assert.equal(sent.status, 200);
assertPage(sent.data, 1);
assertWebhook(sent.data.items[0], configuration);

const webhook = await api.admin.getWebhookConfigurationWebhook(
  COMPANY,
  configuration.id,
  sent.data.items[0].id,
);
assert.equal(webhook.status, 200);
assertWebhook(webhook.data, configuration);
assert.equal(webhook.data.status, 'concluded');
assert.equal(webhook.data.errors, 0);
assert.equal(webhook.data.data.body.event, 'order.created');
assert.deepEqual(webhook.data.data.body.data, { total: '19.90' });
assert.equal(webhook.data.lastResult.statusCode, 204);
assert.equal(webhook.data.lastResult.attempt, 1);

const listed = await api.admin.listWebhooksConfigurations(COMPANY, { limit: 10, search: 'shop=1' });
assert.equal(listed.status, 200);
assertPage(listed.data, 1);
assertConfiguration(listed.data.items[0]);

await assert.rejects(
  api.admin.createWebhooksConfiguration(COMPANY, { webhookUrl: 'ftp://x' }),
  (error) => error.response.status === 400 && error.response.data.statusCode === 400,
);
api.setSecurityData('nonsense');
await assert.rejects(
  api.admin.listWebhooksConfigurations(COMPANY),
  (error) => error.response.status === 401,
);
console.log('eight operations');
