"""The fault relay does what it is asked to, or no row of the table of faults means anything."""
import socket
import threading
import time

import lab
from lab import end_of, read_exact, until
from scene import Box, Scene


def connect(box, timeout=5.0):
    sock = socket.create_connection(("127.0.0.1", box.port), timeout=timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def silent(sock, seconds=0.5):
    sock.settimeout(seconds)
    try:
        return not sock.recv(1) and False
    except TimeoutError:
        return True
    finally:
        sock.settimeout(5)


def test_faultbox_delays_slices_and_limits_without_losing_a_byte():
    with Scene() as s:
        box = Box(s, f"127.0.0.1:{s.listen(lab.echo)}")
        sock = connect(box)
        box.say("delay 50ms")
        began = time.monotonic()
        sock.sendall(b"x")
        assert read_exact(sock, 1) == b"x"
        assert time.monotonic() - began >= 0.1
        box.say("heal", "slice 7", "jitter 1ms")
        data = lab.BLOCK[:20_000]
        threading.Thread(target=sock.sendall, args=(data,), daemon=True).start()
        assert read_exact(sock, len(data)) == data
        box.say("heal", "limit 1000 down")
        other = connect(box)
        other.sendall(b"y" * 5000)
        got = 0
        while part := other.recv(5000):
            got += len(part)
        assert got <= 1000, got


def test_faultbox_in_the_dark_answers_no_syn_and_closes_nothing():
    with Scene() as s:
        box = Box(s, f"127.0.0.1:{s.listen(lab.echo)}")
        sock = connect(box)
        box.say("blackhole")
        sock.sendall(b"x")
        assert silent(sock)
        try:
            connect(box, 1.5)
            raise AssertionError("a SYN was answered in the dark")
        except TimeoutError:
            pass
        box.say("heal")
        assert read_exact(sock, 1) == b"x"
        assert read_exact(echoed(connect(box)), 1) == b"z"
        for way in ("up", "down"):
            box.say(f"blackhole {way}")
            sock.sendall(b"y")
            assert silent(sock), way
            box.say("heal")
            assert read_exact(sock, 1) == b"y"


def echoed(sock):
    sock.sendall(b"z")
    return sock


def test_faultbox_resets_both_ends_and_ends_one_direction():
    with Scene() as s:
        ends = []
        box = Box(s, f"127.0.0.1:{s.listen(lambda sock: ends.append(end_of(sock)))}")
        sock = connect(box)
        time.sleep(0.1)
        box.say("reset")
        assert end_of(sock) == "rst"
        until("the far end sees it", lambda: ends == ["rst"])
        echo = Box(s, f"127.0.0.1:{s.listen(lab.echo)}")
        sock = echoed(connect(echo))
        assert read_exact(sock, 1) == b"z"
        echo.say("halfclose up")
        assert end_of(sock) == "fin"


def test_faultbox_loses_doubles_and_reorders_datagrams():
    with Scene() as s:
        far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        far.bind(("127.0.0.1", 0))
        far.settimeout(1)
        box = Box(s, f"127.0.0.1:{far.getsockname()[1]}", kind="udp", seed=3)
        near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        near.connect(("127.0.0.1", box.port))
        near.settimeout(2)
        box.say("loss 10%", "duplicate 10%", "reorder 10%")

        def send():
            for number in range(2000):
                near.send(number.to_bytes(4, "big"))
                time.sleep(0.0005)

        threading.Thread(target=send, daemon=True).start()
        got = []
        try:
            while True:
                data, source = far.recvfrom(100)
                got.append(int.from_bytes(data, "big"))
        except TimeoutError:
            pass
        lost, twice = 2000 - len(set(got)), len(got) - len(set(got))
        assert 140 <= lost <= 260, lost
        assert 100 <= twice <= 260, twice
        assert got != sorted(got), "nothing was reordered"
        box.say("heal")
        far.sendto(b"back", source)
        assert near.recv(100) == b"back"
