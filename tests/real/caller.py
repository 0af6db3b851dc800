#!/usr/bin/env python3
"""Asks for a new stream again and again, each in its own time: caller.py SOCKS_PORT HOST PORT EVERY_SECONDS

One line an ask: when it was asked, when it was answered (both CLOCK_MONOTONIC), and how it went: `ok`, or what went wrong.
"""
import sys
import threading
import time

import lab


def ask(socks, host, port):
    began = time.monotonic()
    try:
        sock, code = lab.socks5(socks, host, port, early=b"ask", timeout=20)
        with sock:
            outcome = "ok" if code == 0 and lab.read_exact(sock, 3) == b"ask" else f"code {code}"
    except Exception as error:  # whatever it was, it is what the application saw
        outcome = type(error).__name__
    sys.stdout.write(f"{began:.6f} {time.monotonic():.6f} {outcome}\n")
    sys.stdout.flush()


def main():
    socks, host, port, every = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    due = time.monotonic()
    while True:
        threading.Thread(target=ask, args=(socks, host, port), daemon=True).start()
        due += every
        time.sleep(max(0.0, due - time.monotonic()))


main()
