"""Calls a gRPC service 1,000 times through a channel of its own routing, and tells how often each backend answered."""

import collections
import json
import sys

import grpc

channel = grpc.insecure_channel("xds:///" + sys.argv[1])
call = channel.unary_unary(
    "/soak.Soak/Call",
    request_serializer=lambda text: text.encode(),
    response_deserializer=lambda body: body.decode(),
)
call("hello", wait_for_ready=True, timeout=20)
answers = collections.Counter(call("hello", timeout=5) for _ in range(1000))
print(json.dumps(answers))
