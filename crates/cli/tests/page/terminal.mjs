// The lines for a terminal are run as the page shows them, and in another language.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { given, listed, opened, published, sample, scenario, scratch, shell } from './browser.mjs';

await scenario(async () => {
  const report = {};
  const page = await opened();
  const empty = await page.locator('.terminal code').innerText();
  assert.match(empty, /^curl -T FILE http:/);
  await page.getByRole('button', { name: 'Connect' }).click();
  const sheet = page.locator('dialog[open]');
  await sheet.waitFor();
  const lines = await sheet.locator('.connect > .line code').allInnerTexts();
  report.lines = lines;
  const [address, ...commands] = lines;
  assert.equal(address, given.url);
  sample('FILE', 1234);
  const cwd = path.join(scratch, 'samples');
  for (const [n, line] of commands.filter((line) => line.includes('FILE')).entries()) {
    const name = `FILE-${n}`;
    fs.copyFileSync(path.join(cwd, 'FILE'), path.join(cwd, name));
    await shell(line.replaceAll('FILE', name), { cwd });
    report.stored = published();
    assert.equal(report.stored.length, n + 1, `${line}: ${report.stored}`);
    const sizes = report.stored.map((stored) => fs.statSync(path.join(given.dir, stored)).size);
    assert.deepEqual([...new Set(sizes)], [1234], line);
  }
  // Copy puts exactly the line on the clipboard.
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  for (const [n, line] of lines.entries()) {
    await sheet.locator('.connect > .line').nth(n).getByRole('button').click();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), line);
  }
  await sheet.getByText('Details', { exact: true }).click();
  await sheet.getByText('Round trip').waitFor();
  report.connection = await sheet.locator('dl').innerText();
  await page.keyboard.press('Escape');
  await sheet.waitFor({ state: 'detached' });
  await listed(page, report.stored[0]).waitFor();

  // Another language, kept over a reload; the first one is that of the browser.
  await page.getByRole('button', { name: '한국어' }).click();
  await page.getByText('파일 선택').first().waitFor();
  assert.equal(await page.evaluate(() => document.documentElement.lang), 'ko');
  await page.reload();
  await page.getByText('파일 선택').first().waitFor();
  await page.getByRole('button', { name: 'English' }).click();
  await page.getByText('Choose files').first().waitFor();
  const korean = await opened(given.url, { locale: 'ko-KR' });
  await korean.getByText('파일 선택').first().waitFor();
  return report;
});
