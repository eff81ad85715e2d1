"""Receives one WebSocket connection with the PyPI package websockets, and tells what `anyport serve --json` tells."""
import asyncio
import json
import sys
import time

from websockets.asyncio.server import serve

path = sys.argv[1] if len(sys.argv) > 1 else None


def tell(**event):
    print(json.dumps(event), flush=True)


async def take(connection):
    out = open(path, "wb") if path else None
    total, first, last = 0, None, None
    try:
        async for message in connection:
            last = time.monotonic()
            first = first or last
            total += len(message)
            if out:
                out.write(message)
        if out:
            out.close()
        tell(event="receipt", bytes=total, seconds=last - first if first else 0)
    except Exception as error:
        tell(event="interrupted", reason=repr(error))


async def main():
    async with serve(take, "127.0.0.1", 0, compression=None, max_size=None) as server:
        port = server.sockets[0].getsockname()[1]
        tell(event="listening", addr=f"127.0.0.1:{port}")
        await server.serve_forever()


asyncio.run(main())
