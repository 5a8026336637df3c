# A WebSocket client and an echo server with python3-websockets: peer.py serve PORT | drive URL.
import asyncio
import os
import sys

import websockets

MAX = 32 << 20


async def echo(ws, *_):
    async for message in ws:
        if isinstance(message, str) and message.startswith("close "):
            await ws.close(int(message[6:]), "as asked")
            return
        await ws.send(message)


async def serve(port):
    async with websockets.serve(echo, "127.0.0.1", port, max_size=MAX):
        await asyncio.Future()


async def drive(url):
    async with websockets.connect(url, max_size=MAX, close_timeout=20) as ws:
        for message in ("", "hello", "ö" * 70000, b"", os.urandom(125), os.urandom(65536), os.urandom(16 << 20)):
            await ws.send(message)
            assert await ws.recv() == message, len(message)
        await ws.send(p for p in ("frag", "men", "ted"))
        assert await ws.recv() == "fragmented"
        await asyncio.wait_for(await ws.ping(b"there?"), 20)
    for code in (1000, 1001, 1011, 3000, 4999):
        async with websockets.connect(url) as ws:
            await ws.send("close %d" % code)
            try:
                await ws.recv()
                raise AssertionError("not closed")
            except websockets.ConnectionClosed as e:
                assert e.code == code, e
    print("all messages came back")


if sys.argv[1] == "serve":
    asyncio.run(serve(int(sys.argv[2])))
else:
    asyncio.run(drive(sys.argv[2]))
