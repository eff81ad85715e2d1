// The same address without JavaScript: a form and a table.
import assert from 'node:assert/strict';
import { given, open, published, sample, same, scenario } from './browser.mjs';

await scenario(async () => {
  const page = await open(given.url, { javaScriptEnabled: false });
  const files = [sample('one.txt', 3000), sample('two.txt', 70_000)];
  await page.locator('input[type=file]').setInputFiles(files);
  await page.getByRole('button', { name: 'Upload', exact: true }).click();
  await page.getByRole('link', { name: 'two.txt' }).waitFor();
  assert.deepEqual(published(), ['one.txt', 'two.txt']);
  assert.ok(same(files[1], `${given.dir}/two.txt`));
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.goto(`${given.url}?zip`).catch(() => {}),
  ]);
  return { archive: download.suggestedFilename(), rows: await page.locator('tbody tr').count() };
});
