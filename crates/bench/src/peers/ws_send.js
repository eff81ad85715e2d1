// Sends a file as binary messages with the npm package ws: FILE URL FRAME_SIZE.
const fs = require('node:fs');
const { WebSocket } = require('ws');

const [path, url, frameSize] = process.argv.slice(1);
const socket = new WebSocket(url, { perMessageDeflate: false });
socket.on('error', (error) => { console.error(String(error)); process.exit(1); });
socket.on('close', (code) => process.exit(code === 1000 ? 0 : 1));
socket.on('open', () => {
  const file = fs.openSync(path, 'r');
  const next = () => {
    // ws masks in place, so every message needs memory of its own.
    const piece = Buffer.allocUnsafe(Number(frameSize));
    const count = fs.readSync(file, piece);
    if (count === 0) socket.close(1000);
    else socket.send(piece.subarray(0, count), { binary: true }, next);
  };
  next();
});
