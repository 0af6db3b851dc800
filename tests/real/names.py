#!/usr/bin/env python3
"""A DNS server on port 53 of 127.0.0.1, or of the address given, that answers by the first part of the name."""
import socket
import struct
import sys

ADDRESSES = {b"good": "127.0.0.1", b"good2": "127.0.0.1", b"private": "10.1.2.3", b"metadata": "169.254.169.254"}
CODES = {b"servfail": 2, b"nxdomain": 3}


def answer(query):
    number, _, _, *_ = struct.unpack(">HHHHHH", query[:12])
    length = query[12]
    first = query[13:13 + length].lower()
    end = query.index(b"\0", 12) + 5
    question, kind = query[12:end], struct.unpack(">H", query[end - 4:end - 2])[0]
    if first == b"silent":
        return None
    if first == b"garbage":
        return query[:2] + b"\xff" * 9
    if first == b"wrongid":
        number ^= 0x5555
    code, address = CODES.get(first, 0), ADDRESSES.get(first, "127.0.0.1")
    record = b""
    if code == 0 and kind == 1:
        record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 1, 4) + socket.inet_aton(address)
    return struct.pack(">HHHHHH", number, 0x8180 | code, 1, int(bool(record)), 0, 0) + question + record


def main():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1", 53))
    print("ready", flush=True)
    while True:
        query, source = sock.recvfrom(2000)
        if (reply := answer(query)) is not None:
            sock.sendto(reply, source)


main()
