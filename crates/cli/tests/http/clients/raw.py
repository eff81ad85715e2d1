"""Resumable uploads on a plain socket: tus 1.0 and draft-ietf-httpbis-resumable-upload, interop versions 3, 6 and 8.

A library for tests, and a program that uploads one file:

  raw.py DIALECT URL FILE [--name NAME] [--chunk BYTES] [--at URL] [--rest] [--checksum]

DIALECT is tus, ietf-3, ietf-6 or ietf-8; URL is http://HOST:PORT/DIR/. The program prints each
step as a line of JSON, so that the acknowledgements of a killed program are known.
"""

import argparse, base64, hashlib, json, os, select, socket, sys, time
from urllib.parse import urljoin, urlsplit

BLOCK = 64 * 1024


class Refused(Exception):
    """A response that the client cannot use."""

    def __init__(self, what, response):
        super().__init__(f"{what}: {response.status} {response.fields} {response.content[:300]!r}")
        self.response = response


class Response:
    def __init__(self, status, fields):
        self.status, self.fields, self.content, self.interim = status, fields, b"", []

    def number(self, name):
        value = self.fields.get(name)
        return None if value is None else int(value)

    def offset(self):
        return self.number("upload-offset")


class Connection:
    """One HTTP/1.1 connection, which reads interim responses while it sends."""

    def __init__(self, host, port, source=None, timeout=20):
        self.socket = socket.create_connection(
            (host, port), timeout, (source, 0) if source else None
        )
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.timeout, self.buffer = timeout, b""

    def close(self):
        self.socket.close()

    def _fill(self):
        self.socket.settimeout(self.timeout)
        received = self.socket.recv(BLOCK)
        if not received:
            raise ConnectionError(f"the server closed the connection after {self.buffer!r}")
        self.buffer += received

    def _head(self):
        """The next head if it is complete in the buffer."""
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return None
        self.buffer = rest
        line, *fields = head.decode("latin-1").split("\r\n")
        version, status = line.split(" ", 2)[:2]
        assert version == "HTTP/1.1", line
        pairs = [field.split(":", 1) for field in fields]
        return Response(int(status), {name.lower(): value.strip() for name, value in pairs})

    def request(
        self,
        method,
        target,
        fields,
        pieces=(),
        length=0,
        on_interim=lambda response: None,
        until=None,
        expect=False,
        announced=False,
    ):
        """Sends a request and returns its final response.

        `pieces` yields the content. With `until` the client stops sending when that function of the interim responses
        returns true, and returns None. Before the content it waits for 100 (Continue) with `expect`, for 104 with `announced`,
        or for a final response.
        """
        fields = dict({"Host": "127.0.0.1"}, **fields)
        if method not in ("GET", "HEAD", "DELETE", "OPTIONS"):
            fields.setdefault("Content-Length", str(length))
        if expect:
            fields["Expect"] = "100-continue"
        head = "".join(
            f"{name}: {value}\r\n" for name, value in fields.items() if value is not None
        )
        self.socket.sendall(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1"))
        interim, final = [], None

        def take(block):
            nonlocal final
            while final is None:
                response = self._head()
                if response is None:
                    if not block:
                        return
                    self._fill()
                elif response.status >= 200:
                    final = response
                else:
                    interim.append(response)
                    on_interim(response)
                    if response.status == block:
                        return

        if expect:
            take(100)
        if announced:
            take(104)
        for piece in pieces:
            view = memoryview(piece)
            while view and final is None:
                self.socket.settimeout(self.timeout)
                readable, writable, _ = select.select(
                    [self.socket], [self.socket], [], self.timeout
                )
                if not readable and not writable:
                    raise TimeoutError("the server neither reads nor answers")
                if readable:
                    self._fill()
                    take(False)
                if until and until(interim):
                    return None
                if writable and final is None:
                    self.socket.setblocking(False)
                    try:
                        view = view[self.socket.send(view[:BLOCK]) :]
                    except BlockingIOError:
                        pass
                    except (BrokenPipeError, ConnectionResetError):
                        # The final response may have been sent before the reset.
                        take(True)
            if final is not None:
                break
        take(True)
        final.interim = interim
        if method != "HEAD" and final.status != 204:
            final.content = self._content(final)
        return final

    def _content(self, response):
        if response.fields.get("transfer-encoding") == "chunked":
            content = b""
            while True:
                while b"\r\n" not in self.buffer:
                    self._fill()
                size, _, self.buffer = self.buffer.partition(b"\r\n")
                size = int(size, 16)
                while len(self.buffer) < size + 2:
                    self._fill()
                content, self.buffer = content + self.buffer[:size], self.buffer[size + 2 :]
                if size == 0:
                    return content
        length = response.number("content-length") or 0
        while len(self.buffer) < length:
            self._fill()
        content, self.buffer = self.buffer[:length], self.buffer[length:]
        return content


class Dialect:
    """A protocol of resumable uploads: the fields of each request."""

    def __init__(self, name):
        self.name = name
        self.tus = name == "tus"
        self.version = None if self.tus else int(name.removeprefix("ietf-"))

    def base(self):
        return (
            {"Tus-Resumable": "1.0.0"}
            if self.tus
            else {"Upload-Draft-Interop-Version": str(self.version)}
        )

    def complete(self, last):
        """The field that says whether this request completes the upload."""
        if self.tus:
            return {}
        if self.version == 3:
            return {"Upload-Incomplete": "?0" if last else "?1"}
        return {"Upload-Complete": "?1" if last else "?0"}

    def is_complete(self, response, size=None):
        """What a response to HEAD says."""
        if self.tus:
            return response.offset() == response.number("upload-length")
        if self.version == 3:
            return response.fields.get("upload-incomplete") == "?0"
        return response.fields.get("upload-complete") == "?1"

    def creation(self, size, name, last):
        fields = dict(self.base(), **self.complete(last))
        if self.tus:
            fields["Upload-Length" if size is not None else "Upload-Defer-Length"] = str(
                1 if size is None else size
            )
            if name is not None:
                fields["Upload-Metadata"] = (
                    "filename " + base64.b64encode(os.fsencode(name)).decode()
                )
        elif size is not None and self.version != 3:
            fields["Upload-Length"] = str(size)
        return fields

    def append(self, offset, last):
        fields = dict(self.base(), **self.complete(last), **{"Upload-Offset": str(offset)})
        if self.tus:
            fields["Content-Type"] = "application/offset+octet-stream"
        elif self.version > 3:
            fields["Content-Type"] = "application/partial-upload"
        return fields


class Uploader:
    """One upload of one client: what a test does with it is said step by step."""

    def __init__(self, dialect, url, source=None, token=None, report=lambda event: None):
        self.dialect, self.url, self.report, self.source = Dialect(dialect), url, report, source
        self.more = {"Authorization": f"Bearer {token}"} if token else {}
        self.location, self.connection, self.acknowledged = None, None, 0

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def _send(self, method, url, fields, pieces=(), length=0, **more):
        parts = urlsplit(url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        # An idle connection may have been closed, and a request is sent once.
        self.close()
        self.connection = Connection(parts.hostname, parts.port, self.source)
        fields = {"Host": parts.netloc, **fields, **self.more}
        response = self.connection.request(
            method, target, fields, pieces, length, on_interim=self._interim, **more
        )
        if response is not None:
            self._note(response, "final")
        return response

    def _interim(self, response):
        if response.status != 104:
            return
        if self.dialect.version:
            version = response.fields.get("upload-draft-interop-version")
            # The drafts: a client must ignore a 104 of another version.
            assert version == str(self.dialect.version), response.fields
        if "location" in response.fields:
            self._found(response)
        self._note(response, "interim")

    def _found(self, response):
        location = urljoin(self.url, response.fields["location"])
        assert self.location in (None, location), f"{self.location} became {location}"
        self.location = location
        self.report({"event": "created", "location": location})

    def _note(self, response, kind):
        offset = response.offset()
        if offset is not None and response.status < 300:
            assert offset >= self.acknowledged, (
                f"the offset fell from {self.acknowledged} to {offset}"
            )
            self.acknowledged = offset
            self.report(
                {"event": "acknowledged", "offset": offset, "status": response.status, "kind": kind}
            )

    def create(self, size, name, content=None, last=False, method="POST", fields=None, **more):
        """Creates an upload; with `content` the request has it, and with `last` that is all."""
        url = self.url if self.dialect.tus or method == "POST" else urljoin(self.url, name)
        known = None if self.dialect.version and last else size
        head = {**self.dialect.creation(known, name, last), **(fields or {})}
        if not self.dialect.tus and method == "POST" and name is not None:
            head.setdefault("Content-Disposition", f'attachment; filename="{name}"')
        if content is not None and self.dialect.tus:
            head["Content-Type"] = "application/offset+octet-stream"
        if content is not None:
            self.report({"event": "sending", "from": 0, "to": len(content)})
        response = self._send(
            method, url, head, [content] if content is not None else [], len(content or b""), **more
        )
        if response is None:
            return None
        if response.status not in (200, 201):
            raise Refused("creation", response)
        if not (self.dialect.version and last):
            self._found(response)
        return response

    def head(self, status=None):
        response = self._send("HEAD", self.location, self.dialect.base())
        if response.status not in ((status,) if status else (200, 204)):
            raise Refused("HEAD", response)
        return response

    def offset(self):
        """The offset that the server names, and whether the upload is complete."""
        response = self.head()
        offset = response.offset()
        self.report({"event": "offset", "offset": offset})
        return offset, self.dialect.is_complete(response)

    def append(self, offset, content, last, fields=None, **more):
        head = {**self.dialect.append(offset, last), **(fields or {})}
        self.report({"event": "sending", "from": offset, "to": offset + len(content)})
        return self._send("PATCH", self.location, head, [content], len(content), **more)

    def cancel(self):
        return self._send("DELETE", self.location, self.dialect.base())


def checksum(content, algorithm="sha1"):
    digest = base64.b64encode(hashlib.new(algorithm, content).digest()).decode()
    return {"Upload-Checksum": f"{algorithm} {digest}"}


def upload(uploader, content, name, chunk=None, at=None, checksums=False, rest=False):
    """Uploads or continues a whole file; returns the final response.

    `chunk`: bytes of one PATCH. `at`: the URL of an upload. `rest`: the file may be begun, by another client.
    """
    size, dialect = len(content), uploader.dialect
    if at:
        uploader.location = at
        offset, complete = uploader.offset()
        if complete:
            return None
    elif dialect.version and not chunk and not rest:
        return uploader.create(size, name, content, last=True, method="PUT")
    else:
        created = None
        if dialect.version == 3:
            # Version 3 states the length by the whole content alone. 104 names the upload before.
            announced = lambda interim: any("location" in each.fields for each in interim)
            uploader.create(size, name, content, True, "PUT", announced=True, until=announced)
            uploader.close()
        else:
            created = uploader.create(size, name, method="POST" if dialect.tus else "PUT")
        offset, complete = uploader.offset()
        if complete:
            return created
    while True:
        end = min(size, offset + chunk) if chunk else size
        piece = content[offset:end]
        last = end == size
        response = uploader.append(offset, piece, last, checksum(piece) if checksums else None)
        if response.status not in (200, 201, 204):
            raise Refused(f"append at {offset}", response)
        if last:
            return response
        offset = response.offset()
        assert offset == end, (offset, end)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dialect")
    parser.add_argument("url")
    parser.add_argument("file")
    parser.add_argument("--name")
    parser.add_argument("--chunk", type=int)
    parser.add_argument("--at")
    parser.add_argument("--rest", action="store_true")
    parser.add_argument("--checksum", action="store_true")
    arguments = parser.parse_args()
    report = lambda event: print(json.dumps(event), flush=True)
    with open(arguments.file, "rb") as file:
        content = file.read()
    uploader = Uploader(arguments.dialect, arguments.url, report=report)
    name = arguments.name or os.path.basename(arguments.file)
    response = upload(
        uploader, content, name, arguments.chunk, arguments.at, arguments.checksum, arguments.rest
    )
    text = response.content.decode(errors="replace") if response else None
    report({"event": "done", "status": response.status if response else None, "content": text})


if __name__ == "__main__":
    main()
