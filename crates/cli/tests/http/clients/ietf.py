"""draft-ietf-httpbis-resumable-upload on a plain socket; the arguments are the URL of a directory, a file and a version."""

import json, os, sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from raw import Connection, Refused, Uploader, upload  # noqa: E402
from urllib.parse import urljoin, urlsplit  # noqa: E402

directory, file, version = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open(file, "rb") as source:
    content = source.read()
size, third = len(content), len(content) // 3
parts = urlsplit(directory)


def uploader():
    return Uploader(f"ietf-{version}", directory)


def name(what):
    return f"ietf-{version}-{what}"


def refused(response, status, *words):
    assert response.status == status, (response.status, response.fields, response.content)
    text = response.content.decode()
    assert all(word in text for word in words), text


def announced_before_the_content():
    client = uploader()
    response = client.create(size, name("whole"), content, last=True, method="PUT", announced=True)
    assert response.status == 201, response.status
    first = response.interim[0]
    assert first.status == 104 and "location" in first.fields, first.fields
    # Only the first one names the upload.
    assert all("location" not in each.fields for each in response.interim[1:]), [
        each.fields for each in response.interim
    ]
    assert client.dialect.is_complete(response) or version < 8
    offset, complete = client.offset()
    assert (offset, complete) == (size, True), (offset, complete)
    return [each.offset() for each in response.interim]


def interrupted_creation_resumes():
    client = uploader()
    pieces = {"sent": 0}

    def enough(interim):
        pieces["sent"] += 1
        return any(each.status == 104 for each in interim) and pieces["sent"] > 4

    assert (
        client.create(size, name("interrupted"), content, last=True, method="PUT", until=enough)
        is None
    )
    client.close()
    offset, complete = client.offset()
    assert offset >= client.acknowledged and not complete
    response = client.append(offset, content[offset:], last=True)
    assert response.status in (200, 201), response.status
    assert client.offset() == (size, True)
    return offset


def appended_in_three_requests():
    client = uploader()
    response = client.create(size, name("appended"), content[:third], method="PUT")
    assert not client.dialect.is_complete(response)
    assert client.offset() == (third, False)
    refused(client.append(third + 1, content[third + 1 :], last=True, expect=True), 409)
    response = client.append(third - 1, content[third - 1 :], last=True, expect=True)
    refused(response, 409)
    assert response.offset() == third, response.fields
    response = client.append(third, content[third : 2 * third], last=False)
    assert response.status in (201, 204) and response.offset() == 2 * third, (
        response.status,
        response.fields,
    )
    assert not client.dialect.is_complete(response)
    response = client.append(2 * third, content[2 * third :], last=True)
    assert response.status in (200, 201), response.status
    assert response.offset() in (size, None), response.fields
    # Nothing can be appended to a complete upload.
    response = client.append(size, b"more", last=True)
    assert response.status in (400, 409, 410), response.status


def created_empty_and_appended_once():
    client = uploader()
    client.create(size, name("empty-first"), method="PUT")
    assert client.offset() == (0, False)
    assert client.append(0, content, last=True).status in (200, 201)


def completed_without_content():
    client = uploader()
    client.create(size, name("completed"), content, method="PUT")
    assert client.offset() == (size, False), "the offset alone does not complete it"
    assert client.append(size, b"", last=True).status in (200, 201)
    assert client.offset() == (size, True)


def length_known_at_the_end():
    client = uploader()
    client.create(None, name("unknown"), content[:third], method="PUT")
    assert client.append(third, content[third : 2 * third], last=False).offset() == 2 * third
    assert client.append(2 * third, content[2 * third :], last=True).status in (200, 201)


def empty_file():
    client = uploader()
    assert client.create(0, name("empty"), b"", last=True, method="PUT").status == 201


def posted_with_a_disposition():
    client = uploader()
    assert client.create(size, name("posted"), content, last=True).status == 201


def canceled():
    client = uploader()
    client.create(size, name("canceled"), content[:third], method="PUT")
    assert client.cancel().status == 204
    assert client.head(404).status == 404
    refused(client.append(third, content[third:], last=True, expect=True), 404)


def lengths_must_agree():
    if version == 3:
        return None
    client = uploader()
    response = client._send(
        "PUT",
        urljoin(directory, name("lengths")),
        {**client.dialect.creation(size, None, True), "Upload-Length": str(size + 1)},
        [content],
        size,
        expect=True,
    )
    refused(response, 400)
    client = uploader()
    client.create(size, name("lengths"), content[:third], method="PUT")
    refused(client.append(third, content[third:-1], last=True, expect=True), 400)
    return client.offset()[0]


def requests_with_fields_of_other_requests():
    if version > 6:
        return
    client = uploader()
    client.create(size, name("fields"), content[:third], method="PUT")
    for method in ("HEAD", "DELETE"):
        for field in ({"Upload-Offset": "0"}, client.dialect.complete(True)):
            response = client._send(method, client.location, {**client.dialect.base(), **field})
            assert response.status == 400, (method, field, response.status)
    assert client.cancel().status == 204


def status_of_an_upload():
    client = uploader()
    client.create(size, name("status"), content[:third], method="PUT")
    fields = client.head().fields
    assert fields.get("cache-control") == "no-store", fields
    if version > 3:
        assert int(fields["upload-length"]) == size, fields
    assert client.cancel().status == 204
    return {field: value for field, value in fields.items() if field.startswith("upload-")}


def other_versions_are_announced_nothing():
    client = uploader()
    for other in ("1", "7", "99", None):
        head = {**client.dialect.creation(size, None, True), "Upload-Draft-Interop-Version": other}
        connection = Connection(parts.hostname, parts.port)
        response = connection.request(
            "PUT", urlsplit(urljoin(directory, name(f"other-{other}"))).path, head, [content], size
        )
        connection.close()
        assert all(each.status != 104 for each in response.interim), (other, response.interim)
        if response.status != 201:
            refused(response, 400, "3", "6", "8")


def options():
    response = uploader()._send(
        "OPTIONS", directory, {"Upload-Draft-Interop-Version": str(version)}
    )
    if version == 6:
        assert response.fields.get("upload-limit"), response.fields
    if version == 8:
        assert "application/partial-upload" in response.fields.get("accept-patch", ""), (
            response.fields
        )
    return response.fields.get("upload-limit")


results, failed = {}, False
wanted = sys.argv[4:]
for scenario in list(globals().values()):
    if not callable(scenario) or getattr(scenario, "__module__", None) != "__main__":
        continue
    if scenario in (uploader, name, refused) or wanted and scenario.__name__ not in wanted:
        continue
    try:
        results[scenario.__name__] = scenario()
    except (AssertionError, KeyError, Refused, OSError, TypeError) as error:
        failed = True
        line = error.__traceback__
        while line.tb_next and line.tb_next.tb_frame.f_code.co_filename == __file__:
            line = line.tb_next
        print(
            f"{scenario.__name__}: line {line.tb_lineno}: {type(error).__name__}: {error}",
            file=sys.stderr,
        )
print(json.dumps(results))
sys.exit(failed)
