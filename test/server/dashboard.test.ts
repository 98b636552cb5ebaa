import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { findExecutable, requires } from '../support/requirements.ts';
import { RawClient, type ServedNode, serveNode } from './support.ts';

let node: ServedNode;
before(async () => {
  node = await serveNode();
});
after(async () => {
  await node?.stop('SIGKILL');
});

test('the page loads nothing from elsewhere and says so', async () => {
  const page = await fetch(node.url);
  assert.equal(page.status, 200);
  assert.match(page.headers.get('content-security-policy')!, /default-src 'none'/);
  const html = await page.text();
  for (const [, link] of html.matchAll(/(?:src|href)="([^"]*)"/g)) {
    assert.match(link!, /^\/[^/]/);
    assert.equal((await fetch(`${node.url}${link}`)).status, 200, link);
  }
});

test('the page shows live figures, fits a phone, and says when the node is gone', requires('chromium'), async () => {
  const browser = await chromium.launch({
    executablePath: findExecutable('chromium')!,
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
  });
  try {
    const page = await browser.newPage({ viewport: { width: 360, height: 740 } });
    const problems: string[] = [];
    page.on('pageerror', (error) => problems.push(error.message));
    page.on('console', (message) => {
      if (message.type() === 'error') problems.push(message.text());
    });
    const client = await RawClient.connect(node.port);
    await client.expect('SET a 1\r\n', '+OK\r\n');
    await client.expect('GET a\r\n', '$1\r\n1\r\n');
    await page.goto(node.url);
    await page.waitForSelector('#state[data-state=live]');
    // Selectors, not waitForFunction: the page's own policy forbids the eval that a repeated predicate needs.
    await page.waitForSelector('[data-text=hits]:text-is("1")');
    await page.waitForSelector('#chart .line', { state: 'attached' });
    assert.equal(await page.textContent('[data-text=entries]'), '1');
    assert.equal(await page.textContent('[data-text=connections]'), '1');
    assert.match((await page.textContent('[data-text=memoryNote]'))!, /of 64\.0 MiB, tinylfu/);
    assert.equal(await page.evaluate('document.documentElement.scrollWidth'), 360);
    assert.deepEqual(problems, []);
    client.destroy();
    await node.stop();
    await page.waitForSelector('#state[data-state=lost]');
    assert.match((await page.textContent('#state-text'))!, /connection lost/);
  } finally {
    await browser.close();
  }
});
