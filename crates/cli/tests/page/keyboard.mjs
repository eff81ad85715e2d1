// The keyboard alone: each action is reached by Tab, done by Enter or Space, and left by Escape.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import {
  given, listed, opened, sample, scenario, stored, transfer, until,
} from './browser.mjs';

/** What has focus, as a screen reader names it. */
const focused = (page) => page.evaluate(() => {
  const element = document.activeElement;
  const label = element.getAttribute('aria-label') ?? element.labels?.[0]?.innerText
    ?? (element.innerText || element.placeholder || element.tagName);
  return label.replace(/\s+/g, ' ').trim();
});

/** Presses Tab until something has focus; returns what had it on the way. */
async function tabTo(page, name, most = 60) {
  const passed = [];
  for (let n = 0; n < most; n++) {
    await page.keyboard.press('Tab');
    const label = await focused(page);
    if (name.test(label)) {
      const ring = await page.evaluate(() => {
        const visible = document.activeElement.closest('label') ?? document.activeElement;
        const styles = [document.activeElement, visible].map((element) => getComputedStyle(element));
        return styles.some(({ outlineStyle, boxShadow }) => outlineStyle !== 'none'
          || boxShadow !== 'none');
      });
      assert.ok(ring, `${label} shows its focus`);
      return passed;
    }
    passed.push(label);
  }
  throw new Error(`Tab does not reach ${name}: ${passed.join(' | ')}`);
}

await scenario(async () => {
  fs.writeFileSync(path.join(given.dir, 'note.txt'), 'x');
  fs.mkdirSync(path.join(given.dir, 'folder'));
  const page = await opened();
  await listed(page, 'note.txt').waitFor();

  // The order is that of the page: to the files, the header, sending, the files.
  const order = [];
  for (const name of [/^Skip to the files/, /^Room/, /^Connect/, /^한국어/, /^Choose files/,
    /folder/i, /^New folder/]) {
    order.push(...await tabTo(page, name, 8), name.source);
  }
  const chooser = page.waitForEvent('filechooser');
  await page.keyboard.press('Shift+Tab');
  await page.keyboard.press('Shift+Tab');
  assert.match(await focused(page), /Choose files/);
  await page.keyboard.press('Enter');
  await (await chooser).setFiles(sample('typed.txt', 10));
  await stored(page, 'typed.txt');
  await tabTo(page, /Copy link/);
  await page.keyboard.press('Enter');
  await transfer(page, 'typed.txt').getByText(/Copied|Select and copy/).waitFor();
  await tabTo(page, /^Details/);
  await page.keyboard.press('Enter');
  await transfer(page, 'typed.txt').getByText(/^blake3:/).waitFor();

  // A folder is created, entered, and left.
  await tabTo(page, /^New folder/);
  await page.keyboard.press('Enter');
  assert.match(await focused(page), /Name of the new folder/);
  await page.keyboard.press('Escape');
  assert.match(await focused(page), /^New folder/);
  await page.keyboard.press('Enter');
  await page.keyboard.type('made');
  await page.keyboard.press('Enter');
  await listed(page, 'made').waitFor();
  await until('focus on the folder', async () => /^made/.test(await focused(page)));
  await page.keyboard.press('Enter');
  await page.waitForURL('**/files/made/');
  await page.goBack();
  await listed(page, 'note.txt').waitFor();

  // Sorted, selected, renamed, deleted.
  await page.locator('#files').focus();
  await tabTo(page, /^Size/);
  await page.keyboard.press('Enter');
  await page.locator('th[aria-sort=descending] >> text=Size').waitFor();
  await tabTo(page, /^Select note\.txt/);
  await page.keyboard.press('Space');
  await page.locator('.selection').waitFor();
  await page.locator('#files').focus();
  await tabTo(page, /^Rename/);
  await page.keyboard.press('Enter');
  await page.keyboard.type('other');
  await page.keyboard.press('Enter');
  await listed(page, 'other.txt').waitFor();
  await page.locator('#files').focus();
  await tabTo(page, /^Delete/);
  await page.keyboard.press('Enter');
  await page.keyboard.press('Enter');
  await listed(page, 'other.txt').waitFor({ state: 'detached' });

  // Sheets close by Escape, and focus returns to what opened them.
  await page.locator('header.topbar a, header.topbar button').first().focus();
  await tabTo(page, /^Connect/);
  await page.keyboard.press('Enter');
  await page.locator('dialog[open]').waitFor();
  await tabTo(page, /Copy/);
  await page.keyboard.press('Escape');
  await page.locator('dialog[open]').waitFor({ state: 'detached' });
  assert.match(await focused(page), /^Connect/);
  await page.keyboard.press('Shift+Tab');
  assert.match(await focused(page), /^Room/);
  await page.keyboard.press('Enter');
  await until('the input', async () => /Say something/.test(await focused(page)));
  await page.keyboard.type('typed');
  await page.keyboard.press('Enter');
  await page.locator('.room-log').getByText('typed', { exact: true }).waitFor();
  await page.keyboard.press('Escape');
  await until('focus on the button', async () => /^Room/.test(await focused(page)));
  return { order };
});
