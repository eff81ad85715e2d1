// What the scenarios share: Chromium, servers, a proxy that misbehaves, and the report.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash, createCipheriv } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';

// The working directory is the one of the peers.
const peers = createRequire(`${process.cwd()}/`);
const { chromium } = peers('playwright-core');
export const given = JSON.parse(process.env.SCENARIO ?? '{}');
export const axeSource = () => fs.readFileSync(peers.resolve('axe-core/axe.min.js'), 'utf8');
export const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'page-'));
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const DEADLINE = Number(process.env.DEADLINE ?? 60_000);

/** Waits until `ask` returns something true; exceptions count as no. */
export async function until(what, ask, limit = DEADLINE) {
  const end = Date.now() + limit;
  let last;
  for (;;) {
    try {
      const found = await ask();
      if (found) return found;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`no ${what} within ${limit} ms${last ? `: ${last}` : ''}`);
    await pause(30);
  }
}

// ---------------------------------------------------------------- Chromium

const executable = () => {
  const places = (process.env.PATH ?? '').split(':').map((place) => path.join(place, 'chromium'));
  return places.find((place) => fs.existsSync(place)) ?? '/usr/bin/chromium';
};
const launched = { executablePath: executable(), args: ['--no-sandbox', '--disable-gpu'] };
let chrome;
const contexts = [];
/** Violations of the CSP, and errors that no code caught. */
export const faults = [];
const expected = [];
/** Faults that match are part of an attack. */
export const expectFaults = (pattern) => expected.push(pattern);

function watch(context) {
  contexts.push(context);
  context.on('console', (message) => {
    const text = message.text();
    if (/content security policy|trusted ?type/i.test(text)) faults.push(text);
    else if (process.env.VERBOSE) console.error('console:', text);
  });
  context.on('weberror', (error) => faults.push(`uncaught: ${error.error().stack}`));
  context.setDefaultTimeout(DEADLINE);
  return context;
}

/** A context of the one browser, as of another person. */
export async function person(options = {}, flags = []) {
  chrome ??= await chromium.launch({ ...launched, args: [...launched.args, ...flags] });
  return watch(await chrome.newContext({ locale: 'en-US', ...options }));
}

/** A browser of its own with a profile that outlives it. */
export async function profile(directory, options = {}) {
  const all = { ...launched, locale: 'en-US', ...options };
  return watch(await chromium.launchPersistentContext(directory, all));
}

/** A page of a new person at `url`. */
export async function open(url = given.url, options = {}) {
  const page = await (await person(options)).newPage();
  await page.goto(url);
  return page;
}

/** Waits until the script of the page has taken over. */
export async function ready(page) {
  await page.locator('header.topbar').waitFor();
  await page.locator('#files:not([hidden]), .strip, form.token').first().waitFor();
  return page;
}

/** A page of a new person at `url`, with its script running. */
export const opened = async (url, options) => ready(await open(url, options));

/** The row of a transfer, and the row of a file in the list. */
export const transfer = (page, name) => page.locator('.transfer', { hasText: name });
export const listed = (page, name) =>
  page.locator('#files tbody tr:not(.receiving)').filter({ has: page.getByText(name, { exact: true }) });

/** Waits until a transfer is in a state. */
export const reaches = (page, name, state) =>
  page.locator(`.transfer[data-state="${state}"]`, { hasText: name }).waitFor();
export const stored = (page, name) => reaches(page, name, 'done');

/** Drops files or directories of this machine on the page, as a file manager does. */
export async function drop(page, files, { hold } = {}) {
  const client = await page.context().newCDPSession(page);
  const data = { items: [], files, dragOperationsMask: 1 };
  const at = { x: 400, y: 300, data };
  await client.send('Input.dispatchDragEvent', { type: 'dragEnter', ...at });
  await client.send('Input.dispatchDragEvent', { type: 'dragOver', ...at });
  if (hold) await hold();
  await client.send('Input.dispatchDragEvent', { type: 'drop', ...at });
  await client.detach();
}

export const choose = (page, files) => page.locator('input[type=file]').first().setInputFiles(files);

// ---------------------------------------------------------------- files

/** Content that no protocol compresses and every run repeats. */
export function noise(size, seed = 1) {
  const key = createHash('sha256').update(`${seed}`).digest();
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(size));
}

/** A file of this machine to choose; returns its path. */
export function sample(name, size = 1000, seed = name) {
  const file = path.join(scratch, 'samples', name);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, typeof size === 'number' ? noise(size, seed) : size);
  return file;
}

export const same = (one, other) => fs.readFileSync(one).equals(fs.readFileSync(other));

/** Published files below a directory, sorted. */
export function published(directory = given.dir) {
  const all = fs.readdirSync(directory, { recursive: true, withFileTypes: true });
  return all
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(directory, path.join(entry.parentPath ?? entry.path, entry.name)))
    .filter((name) => !name.split('/').some((part) => part.startsWith('.anyport-')))
    .sort();
}

// ---------------------------------------------------------------- servers

const children = [];
/** Starts a server of the scenario's own; `kill` ends it as a crash does. */
export async function serve(flags = [], { directory, port = 0, host = '127.0.0.1', wrap = [] } = {}) {
  directory ??= fs.mkdtempSync(path.join(scratch, 'served-'));
  const command = [...wrap, given.anyport, 'serve', '--json', '--control', 'none'];
  const bind = ['--bind', `${host}:${port}`, ...flags, directory];
  const env = { ...process.env, XDG_STATE_HOME: scratch, XDG_CONFIG_HOME: scratch };
  const [program, ...words] = [...command, ...bind];
  const child = spawn(program, words, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  children.push(child);
  const server = { child, directory, events: [], said: '' };
  child.stderr.on('data', (text) => (server.said += text));
  let text = '';
  child.stdout.on('data', (more) => {
    const lines = (text + more).split('\n');
    text = lines.pop();
    server.events.push(...lines.map((line) => JSON.parse(line)));
  });
  const listening = await until('listening server', () => {
    if (child.exitCode !== null) throw new Error(server.said);
    return server.events.find((event) => event.event === 'listening');
  });
  server.port = Number(listening.addr.split(':').pop());
  server.url = `http://${host}:${server.port}/`;
  server.kill = async () => {
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  };
  return server;
}

/** Runs a command line as a person would; returns its output. */
export async function shell(line, { input, cwd = scratch, limit = 20_000 } = {}) {
  const env = { ...process.env, PATH: `${path.dirname(given.anyport)}:${process.env.PATH}` };
  Object.assign(env, { XDG_STATE_HOME: scratch, XDG_CONFIG_HOME: scratch });
  const child = spawn('bash', ['-c', line], { cwd, env });
  children.push(child);
  let output = '';
  child.stdout.on('data', (text) => (output += text));
  child.stderr.on('data', (text) => (output += text));
  child.stdin.on('error', () => {});
  child.stdin.end(input ?? '');
  const timer = setTimeout(() => child.kill('SIGKILL'), limit);
  const code = await new Promise((resolve) => child.once('close', resolve));
  clearTimeout(timer);
  assert.equal(code, 0, `${line}: exit ${code}: ${output}`);
  return output;
}

/**
 * An HTTP proxy before a server. `before(request, body)` may answer by itself: `{status, text}`,
 * or change the content: a Buffer; `rate` limits content in bytes per second.
 */
export async function proxy(target, hooks = {}) {
  const sockets = new Set();
  const track = (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {});
  };
  const made = { refused: 0, requests: [], down: false };
  const server = http.createServer((request, response) => {
    if (made.down) return request.socket.destroy();
    made.requests.push(`${request.method} ${request.url}`);
    const refusal = hooks.refuse?.(request);
    if (refusal) {
      made.refused += 1;
      response.writeHead(refusal, { connection: 'close', 'content-type': 'text/html' });
      response.end('<h1>from a proxy</h1>');
      return request.resume();
    }
    const to = new URL(request.url, target);
    const options = { method: request.method, headers: request.headers, agent: false };
    const onward = http.request(to, options, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on('error', () => response.destroy());
    response.on('close', () => onward.destroy());
    request.on('error', () => onward.destroy());
    let sent = 0;
    const began = Date.now();
    request.on('data', (chunk) => {
      const content = hooks.change?.(request, chunk, sent) ?? chunk;
      sent += chunk.length;
      const wait = hooks.rate ? (sent / hooks.rate) * 1000 - (Date.now() - began) : 0;
      const free = onward.write(content);
      if (wait > 5 || !free) request.pause();
      if (wait > 5) setTimeout(() => request.resume(), wait);
      else if (!free) onward.once('drain', () => request.resume());
    });
    request.on('end', () => onward.end());
  });
  server.on('connection', track);
  server.on('upgrade', (request, socket, head) => {
    if (made.down) return socket.destroy();
    const { hostname, port } = new URL(target);
    const onward = net.connect(Number(port), hostname, () => {
      const fields = request.rawHeaders.reduce((all, v, i) => all + v + (i % 2 ? '\r\n' : ': '), '');
      onward.write(`${request.method} ${request.url} HTTP/1.1\r\n${fields}\r\n`);
      onward.write(head);
      socket.pipe(onward);
      onward.pipe(socket);
    });
    track(onward);
    socket.on('close', () => onward.destroy());
    onward.on('close', () => socket.destroy());
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = () => [...sockets].forEach((socket) => socket.destroy());
  children.push({ kill: () => (server.close(), cut()) });
  return Object.assign(made, { url: `http://127.0.0.1:${server.address().port}/`, cut });
}

/** A foreign web server, which serves `html` for every path. */
export async function site(html, host = '127.0.0.1') {
  const server = http.createServer((request, response) => {
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' });
    response.end(typeof html === 'function' ? html(request) : html);
  });
  await new Promise((resolve) => server.listen(0, host, resolve));
  children.push({ kill: () => (server.close(), server.closeAllConnections()) });
  return { url: `http://${host}:${server.address().port}/`, port: server.address().port };
}

// ---------------------------------------------------------------- axe

/** Violations of WCAG 2 A and AA and of axe's best practices, as lines. */
export async function violations(page, state) {
  await page.evaluate(axeSource());
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  const line = (v) => `${state}: ${v.id}: ${v.nodes.map((n) => `${n.target} ${n.html}`).join(' | ')}`;
  return found.violations.map(line);
}

// ---------------------------------------------------------------- the report

/** Runs a scenario; the last line of its output is its report. */
export async function scenario(steps) {
  let failed;
  try {
    const report = await steps();
    const unexpected = faults.filter((fault) => !expected.some((pattern) => pattern.test(fault)));
    assert.deepEqual(unexpected, []);
    console.log(JSON.stringify(report ?? {}));
  } catch (error) {
    failed = error;
    console.error(error);
    console.error('faults:', faults);
    for (const page of contexts.flatMap((context) => context.pages())) {
      const text = await page.locator('body').innerText({ timeout: 1000 }).catch(() => 'no text');
      console.error(`--- ${page.url()}\n${text}`);
      if (process.env.SHOTS) {
        const file = path.join(process.env.SHOTS, `failed-${path.basename(process.env.SCRIPT)}.png`);
        await page.screenshot({ path: file, timeout: 3000 }).catch(() => {});
      }
    }
  }
  const closed = Promise.allSettled(contexts.map((context) => context.close()));
  await Promise.race([closed, pause(5000)]);
  await Promise.race([chrome?.close(), pause(5000)]);
  for (const child of children) child.kill('SIGKILL');
  fs.rmSync(scratch, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  process.exit(failed ? 1 : 0);
}
