"""Sends a file as binary messages with the PyPI package websockets: FILE URL FRAME_SIZE CONGESTION."""
import asyncio
import socket
import sys
from urllib.parse import urlsplit

from websockets.asyncio.client import connect

path, url, frame_size, congestion = sys.argv[1:]


async def main():
    at = urlsplit(url)
    connection = socket.create_connection((at.hostname, at.port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
    async with connect(url, sock=connection, compression=None, proxy=None) as channel:
        with open(path, "rb") as content:
            while piece := content.read(int(frame_size)):
                await channel.send(piece)


asyncio.run(main())
