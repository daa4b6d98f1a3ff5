"""Endpoints of OpenAI's chat protocol with a known capacity, to measure how much of it a client uses.

Each endpoint answers at most SLOTS requests at a time; others wait in order. A request takes a seeded time around
LATENCY. On SIGTERM the server prints one line of JSON: what the endpoints allow, and what was used of it from the first
to the last simulator request.
"""

import argparse
import asyncio
import collections
import itertools
import json
import random
import signal
import time

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


# Numbers of the requests.
NUMBERS = itertools.count()


class Endpoint:
    """Slots of one address."""

    def __init__(self, slots, latency, spread, seed):
        self.free, self.slots, self.waiting = slots, slots, collections.deque()
        self.latency, self.spread, self.draws = latency, spread, random.Random(seed)
        self.answered = self.connections = 0

    def add(self, connection, answer):
        self.waiting.append((connection, answer))
        self.start()

    def start(self):
        while self.free and self.waiting:
            self.free -= 1
            seconds = self.latency * (1 + self.spread * (2 * self.draws.random() - 1))
            asyncio.get_running_loop().call_later(seconds, self.end, *self.waiting.popleft())

    def end(self, connection, answer):
        self.free += 1
        self.answered += 1
        connection.send(answer)
        self.start()


class Log:
    """Simulator requests: their number, and when the first and the last one came and went."""

    def __init__(self):
        self.asked = self.answered = self.in_flight = self.most_in_flight = 0
        self.first = self.last = None

    def comes(self):
        self.first = self.first or time.monotonic()
        self.asked += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def goes(self):
        self.last = time.monotonic()
        self.answered += 1
        self.in_flight -= 1


class Connection(asyncio.Protocol):
    def __init__(self, endpoint, log):
        self.endpoint, self.log, self.data, self.simulates = endpoint, log, b"", False
        endpoint.connections += 1

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data
        head, separator, body = self.data.partition(b"\r\n\r\n")
        if not separator:
            return
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        if len(body) < length:
            return
        self.data = body[length:]
        schema = json.loads(body[:length])["response_format"]["json_schema"]
        self.simulates = schema["name"] != "explanation"
        if self.simulates:
            self.log.comes()
        self.endpoint.add(self, answer(schema, next(NUMBERS)))

    def send(self, body):
        if self.simulates:
            self.log.goes()
        if not self.transport.is_closing():
            self.transport.write(HEAD % len(body) + body)


def answer(schema, nth):
    if schema["name"] == "explanation":
        # Equal explanations would make equal questions, which are asked once.
        said = {"explanation": f"words about the island {nth}"}
    else:
        places = schema["schema"]["properties"]["activations"]["required"]
        said = {"activations": {place: 7 * nth % 11 for nth, place in enumerate(places)}}
    choice = {"index": 0, "message": {"role": "assistant", "content": json.dumps(said)}, "finish_reason": "stop"}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 900, "completion_tokens": 300}}).encode()


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoints", type=int, default=4)
    parser.add_argument("--slots", type=int, default=32, help="requests answered at a time by each endpoint")
    parser.add_argument("--latency", type=float, default=0.25, help="mean seconds of a request")
    parser.add_argument("--spread", type=float, default=0.5, help="largest relative deviation from it")
    asked = parser.parse_args()
    log, loop = Log(), asyncio.get_running_loop()
    endpoints = [Endpoint(asked.slots, asked.latency, asked.spread, seed) for seed in range(asked.endpoints)]
    servers = [
        await loop.create_server(lambda one=one: Connection(one, log), "127.0.0.1", 0, backlog=1024)
        for one in endpoints
    ]
    print(json.dumps([f"http://127.0.0.1:{one.sockets[0].getsockname()[1]}/v1" for one in servers]), flush=True)
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    seconds = (log.last or 0) - (log.first or 0)
    allowed = asked.endpoints * asked.slots / asked.latency
    print(
        json.dumps(
            {
                "simulator_calls": log.answered,
                "seconds": round(seconds, 2),
                "calls_per_second": round(log.answered / seconds, 1) if seconds else None,
                "allowed_per_second": round(allowed, 1),
                "share_of_allowed": round(log.answered / seconds / allowed, 4) if seconds else None,
                "answered_by_endpoint": [one.answered for one in endpoints],
                "connections_by_endpoint": [one.connections for one in endpoints],
                "most_in_flight": log.most_in_flight,
            }
        ),
        flush=True,
    )


asyncio.run(main())
