#!/usr/bin/env python3
"""Sends a file to anyport and resumes it if it was interrupted. Written from docs/transfer.md alone."""

import hashlib
import os
import socket
import sys
from urllib.parse import quote


def put(path, host, port):
    size, mtime = os.path.getsize(path), int(os.path.getmtime(path))
    identity = hashlib.sha256(f"{os.path.abspath(path)} {size} {mtime}".encode()).hexdigest()[:32]
    with socket.create_connection((host, port)) as stream, open(path, "rb") as file:
        answers = stream.makefile("r", encoding="utf-8", newline="\n")
        name = quote(os.path.basename(path), safe="")
        offer = f"PUT {name} size={size} digest=sha256 mtime={mtime} id={identity} resume"
        stream.sendall(f"ANYPORT/1 {offer}\n".encode())
        answer = answers.readline()
        if answer.startswith("ANYPORT/1 GO "):
            offset = int(answer.split("offset=")[1])
            digest = hashlib.sha256()
            while chunk := file.read(1 << 20):
                digest.update(chunk)
                stream.sendall(chunk[max(0, offset - (file.tell() - len(chunk))):])
            stream.sendall(f"END sha256:{digest.hexdigest()}\n".encode())
            answer = answers.readline()
    print(answer.strip())
    return 0 if answer.startswith("ANYPORT/1 RECEIPT ") else 1


if __name__ == "__main__":
    sys.exit(put(sys.argv[1], sys.argv[2], int(sys.argv[3])))
