"""The judge's traffic over every way a pair can be set up, and while programs are killed under it."""
import time

from judged import Judged
from lab import Lab

FLOWS = {"flows": 400, "at_once": 50}


def judged(mix, server=(), client=()):
    with Lab() as l:
        # Idle connections go soon, so that what is given back is seen soon.
        pair = l.pair(server, [*client, "-remux.idle.max.sec", "2"])
        j = Judged(l, seed=42)
        j.settle(*pair)
        totals = j.traffic(mix=mix, **FLOWS)
        good, text = j.verdict()
        assert good and " complete=0 " not in text, f"{totals}\n{text}"
        settled, held = j.settle(*pair, within=30)
        assert settled, held


def both(mix, *flags):
    judged(mix, server=flags, client=flags)


def test_nothing_is_lost_over_pooled_connections():
    judged("mixed")


def test_nothing_is_lost_over_pooled_connections_with_true_results():
    judged("mixed", client=["-eagersocks.reply", "strict"])


def test_nothing_is_lost_over_connections_that_retire_all_the_time():
    both("mixed", "-remux.reuse.max.cnt", "2", "-remux.reuse.max.sec", "1")


def test_nothing_is_lost_with_small_queues_and_windows():
    both("mixed", "-remux.stream.send.bytes", "16384", "-remux.window.max.bytes", "262144", "-remux.window.min.bytes", "16384")


def test_nothing_is_lost_without_mux():
    both("mixed", "-eagersocks.net", "tls")


def test_nothing_is_lost_over_the_classic_wire_as_far_as_it_can_tell():
    both("classic", "-remux.wire", "classic")


def test_everything_is_a_prefix_with_an_honest_end_while_the_server_is_killed():
    killed("server")


def test_everything_is_a_prefix_with_an_honest_end_while_the_client_is_killed():
    killed("client")


def killed(which):
    for flags in ([], ["-eagersocks.net", "tls"]):
        with Lab() as l:
            server, client = l.pair(flags, flags)
            j = Judged(l, seed=43, patience=30)
            running = j.generate(mix="mixed", at_once=50, **{"for": 6})
            for _ in range(3):
                time.sleep(1.5)
                victim = server if which == "server" else client
                victim.kill()
                victim.popen.wait()
                if which == "server":
                    server = l.server(*flags)
                else:
                    client = l.client(*flags)
            running.communicate(timeout=120)
            good, text = j.verdict(faulted=True)
            ends = dict(word.split("=") for word in text.splitlines()[-1].split() if "=" in word)
            assert good, text
            assert int(ends["complete"]) > 100 and int(ends.get("rst", 0)) > 10, text
