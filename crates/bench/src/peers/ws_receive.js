// Receives one WebSocket connection with the npm package ws, and tells what `anyport serve --json` tells.
const fs = require('node:fs');
const { WebSocketServer } = require('ws');

const path = process.argv[1];
const tell = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);
const options = { host: '127.0.0.1', port: 0, perMessageDeflate: false, maxPayload: 0 };
const server = new WebSocketServer(options, () => {
  tell({ event: 'listening', addr: `127.0.0.1:${server.address().port}` });
});
server.on('connection', (socket) => {
  const out = path ? fs.openSync(path, 'w') : null;
  let [bytes, first, last] = [0, null, null];
  socket.on('message', (data) => {
    last = performance.now();
    first ??= last;
    bytes += data.length;
    if (out !== null) fs.writeSync(out, data);
  });
  socket.on('error', (error) => tell({ event: 'interrupted', reason: String(error) }));
  socket.on('close', (code) => {
    if (out !== null) fs.closeSync(out);
    if (code !== 1000) tell({ event: 'interrupted', reason: `closed with ${code}` });
    else tell({ event: 'receipt', bytes, seconds: first === null ? 0 : (last - first) / 1000 });
  });
});
