"""
gRPC without generated code. `serve NAME` listens, and prints its port. `call PORT` makes calls of every kind, by twelve at a time over one
connection, every third with "x-who: me". It prints a line when some are over; hears one; and when some that were begun after that are over,
it prints which ends they had: of those with the header ("own") and without, begun before and after.
"""

import json
import sys
import threading
import time
from concurrent import futures

import grpc

KINDS = ['Unary', 'Down', 'Unary', 'Up', 'Unary', 'Both']
LANES = 12
EARLY, LATE = 60, 150


def message(at):
    """The message of a number; some are large."""
    return b'%d:' % at + bytes([97 + at % 26]) * (60_000 if at % 7 == 3 else at % 50)


def check(found, expected):
    for at, each in enumerate(found):
        if at >= expected or each != message(at):
            raise ValueError(f'wrong message {at}')
    if len(found) != expected:
        raise ValueError(f'{len(found)} messages of {expected}')


def slowly(count, pause):
    for at in range(count):
        yield message(at)
        time.sleep(pause)


def serve(name):
    def begin(context):
        context.send_initial_metadata((('x-side', name), ('x-peer', context.peer())))
        context.set_trailing_metadata((('x-end', name),))
        asked = dict(context.invocation_metadata())
        return int(asked['x-messages']), int(asked['x-pause']) / 1000

    def one(requests, context):
        count, _ = begin(context)
        check(list(requests), count)
        return message(0)

    def many(requests, context):
        count, pause = begin(context)
        check(list(requests), 1)
        yield from slowly(count, pause)

    def both(requests, context):
        begin(context)
        for at, each in enumerate(requests):
            if each != message(at):
                raise ValueError(f'wrong message {at}')
            yield each

    handlers = {
        'Unary': grpc.stream_unary_rpc_method_handler(one),
        'Down': grpc.stream_stream_rpc_method_handler(many),
        'Up': grpc.stream_unary_rpc_method_handler(one),
        'Both': grpc.stream_stream_rpc_method_handler(both),
    }
    server = grpc.server(futures.ThreadPoolExecutor(2 * LANES))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler('test.Calls', handlers),))
    port = server.add_insecure_port('127.0.0.1:0')
    server.start()
    print(port, flush=True)
    sys.stdin.read()


class Calls:
    def __init__(self, port):
        self.channel = grpc.insecure_channel(f'127.0.0.1:{port}', options=(('grpc.enable_retries', 0),))
        self.changed = threading.Condition()
        self.ends = {key: {} for key in ('before', 'ownBefore', 'after', 'ownAfter')}
        self.peers = set()
        self.isAfter = self.isOver = False

    def call(self, kind, count, pause, own):
        """Who answered, if every message came, once and in order, and the trailers; else how it ended."""
        metadata = (('x-messages', str(count)), ('x-pause', str(pause)))
        metadata += (('x-who', 'me' if own else f'them{count % 9}'),)
        sent = slowly(count, pause / 1000) if kind in ('Up', 'Both') else slowly(1, 0)
        try:
            call = self.channel.stream_stream(f'/test.Calls/{kind}')(sent, metadata=metadata, timeout=30)
            check(list(call), count if kind in ('Down', 'Both') else 1)
            head, end = dict(call.initial_metadata()), dict(call.trailing_metadata())
        except grpc.RpcError as error:
            return error.code().name
        except ValueError as error:
            return str(error)
        if end['x-end'] == 'application':
            self.peers.add(head['x-peer'])
        return end['x-end'] if head['x-side'] == end['x-end'] else 'both'

    def lane(self, number):
        at = number
        while not self.isOver:
            own = at % 3 == 0
            key = ('ownAfter' if own else 'after') if self.isAfter else 'ownBefore' if own else 'before'
            kind = KINDS[at // 3 % len(KINDS)]
            end = self.call(kind, 1 if kind == 'Unary' else 1 + at % 40, at % 5, own)
            with self.changed:
                self.ends[key][end] = self.ends[key].get(end, 0) + 1
                self.changed.notify_all()
            at += 1

    def wait_for(self, keys, count):
        with self.changed:
            self.changed.wait_for(lambda: sum(sum(self.ends[key].values()) for key in keys) >= count)

    def run(self):
        lanes = [threading.Thread(target=self.lane, args=(7 * number,)) for number in range(LANES)]
        for lane in lanes:
            lane.start()
        self.wait_for(('before', 'ownBefore'), EARLY)
        print('some are over', flush=True)
        sys.stdin.readline()
        self.isAfter = True
        self.wait_for(('after', 'ownAfter'), LATE)
        self.isOver = True
        for lane in lanes:
            lane.join()
        print(json.dumps({**self.ends, 'peers': len(self.peers)}), flush=True)


if sys.argv[1] == 'serve':
    serve(sys.argv[2])
else:
    Calls(sys.argv[2]).run()
