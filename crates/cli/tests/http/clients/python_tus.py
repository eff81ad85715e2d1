"""tuspy and aiotus: upload a file in every way that they know; the arguments are the URL of a directory and a file."""

import asyncio, io, json, os, sys, tempfile

import aiohttp, aiotus, aiotus.core, aiotus.creation, yarl
from tusclient.client import TusClient
from tusclient.storage.filestorage import FileStorage

endpoint, file = sys.argv[1:3]
with open(file, "rb") as source:
    content = source.read()
chunk = -(-len(content) // 5)
results = {}


def tuspy(scratch):
    client = TusClient(endpoint)
    uploader = client.uploader(file, metadata={"filename": "tuspy-whole"})
    uploader.upload()
    assert uploader.offset == len(content)

    # Stopped between two requests, and continued by a new uploader that finds the URL in its storage.
    storage = lambda: FileStorage(os.path.join(scratch, "urls"))
    options = dict(chunk_size=chunk, store_url=True, metadata={"filename": "tuspy-stopped"})
    client.uploader(file, url_storage=storage(), **options).upload(stop_at=2 * chunk)
    again = client.uploader(file, url_storage=storage(), **options)
    results["tuspy-stopped"] = again.offset
    assert again.offset == 2 * chunk, again.offset
    again.upload()

    # Each request with its SHA-1.
    client.uploader(
        file, chunk_size=chunk, upload_checksum=True, metadata={"filename": "tuspy-checked"}
    ).upload()

    client.uploader(file_stream=io.BytesIO(b""), metadata={"filename": "tuspy-empty"}).upload()

    async def asynchronous():
        uploaders = [
            client.async_uploader(
                file, chunk_size=chunk, metadata={"filename": f"tuspy-several-{number}"}
            )
            for number in range(4)
        ]
        await asyncio.gather(*(uploader.upload() for uploader in uploaders))

    asyncio.run(asynchronous())


async def with_aiotus():
    metadata = lambda name: {"filename": name.encode(), "filetype": b"image/png", "flag": None}
    location = await aiotus.upload(endpoint, io.BytesIO(content), metadata("aiotus-whole"))
    assert location is not None
    results["aiotus-metadata"] = sorted(await aiotus.metadata(location))

    async with aiohttp.ClientSession() as session:
        configuration = await aiotus.core.configuration(session, yarl.URL(endpoint))
        results["aiotus-configuration"] = [
            configuration.protocol_versions,
            configuration.protocol_extensions,
        ]

        # Stopped in the middle of a request: the connection is closed after a part of the content.
        name = "aiotus-interrupted"
        location = await aiotus.creation.create(
            session, yarl.URL(endpoint), io.BytesIO(content), metadata(name)
        )
        location = yarl.URL(endpoint).join(location)

        async def some():
            yield content[: 2 * chunk]
            raise ConnectionAbortedError

        headers = {
            "Tus-Resumable": "1.0.0",
            "Upload-Offset": "0",
            "Content-Type": "application/offset+octet-stream",
            "Content-Length": str(len(content)),
        }
        try:
            await session.patch(location, headers=headers, data=some())
        except (ConnectionAbortedError, aiohttp.ClientError):
            pass
        await aiotus.core.upload_buffer(session, location, io.BytesIO(content), chunksize=chunk)

    several = [
        aiotus.upload(endpoint, io.BytesIO(content), metadata(f"aiotus-several-{number}"))
        for number in range(4)
    ]
    assert None not in await asyncio.gather(*several)

    # Parts that the server joins: the extension "concatenation".
    buffers = [io.BytesIO(content[:chunk]), io.BytesIO(content[chunk:])]
    quick = aiotus.RetryConfiguration(retry_attempts=1)
    results["aiotus-parts"] = str(
        await aiotus.upload_multiple(endpoint, buffers, metadata("aiotus-parts"), config=quick)
    )


with tempfile.TemporaryDirectory() as scratch:
    tuspy(scratch)
asyncio.run(with_aiotus())
print(json.dumps(results))
