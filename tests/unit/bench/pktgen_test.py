"""bench/pktgen: the arithmetic of its report, and what it says to pktgen and hears from it. No root, no machine."""

import contextlib
import importlib.machinery
import importlib.util
import io
import os
import sys
import unittest

BENCH = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "..", "..", "bench")
sys.dont_write_bytecode = True
sys.path[:0] = [BENCH, os.path.join(BENCH, "pktgen")]

import counters  # noqa: E402
import generators  # noqa: E402

NOTHING = {"softnet": 0, "devices": {}, "stack": {}, "verdicts": {}}
WIRE = (("outside", "eth0"), ("node", "eth0"))


def core(cpu, sent, elapsed_ns=1_000_000, idle_ns=0):
    return {"cpu": cpu, "sent": sent, "timed_frames": sent, "elapsed_ns": elapsed_ns, "idle_ns": idle_ns}


def options_of(*words):
    path = os.path.join(BENCH, "pktgen", "run")
    loader = importlib.machinery.SourceFileLoader("pktgen_run", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("pktgen_run", loader))
    loader.exec_module(module)
    before, sys.argv = sys.argv, ["run", *words]
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return module.parse_arguments()
    finally:
        sys.argv = before


class Sum(unittest.TestCase):
    def test_frames_that_arrived_and_frames_that_were_dropped_are_all_that_were_sent(self):
        moved = NOTHING | {"verdicts": {"node": {"SOURCE_DENIED": ("drop", 30), "FLOW_FORWARDED": ("fast", 60), "NO_FLOW": ("kernel", 7)}},
                           "stack": {"web": {"UdpInErrors": 10, "UdpRcvbufErrors": 10, "UdpInDatagrams": 60}}}
        report = counters.account([core(1, 100)], {1: 60}, moved)
        self.assertEqual(report["drops"], {"node: SOURCE_DENIED": 30, "web: UdpInErrors": 10})
        self.assertEqual(report["unexplained"], 0)
        self.assertEqual(report["forwarded"], {"node: FLOW_FORWARDED": 60})
        self.assertEqual(report["left_to_kernel"], {"node: NO_FLOW": 7})

    def test_a_frame_that_no_counter_names_is_reported(self):
        self.assertEqual(counters.account([core(1, 100)], {1: 99}, NOTHING)["unexplained"], 1)

    def test_a_dropped_frame_of_the_kernels_own_hides_nothing_and_is_no_riddle(self):
        moved = NOTHING | {"devices": {"node": {"br0": {"tx_dropped": 1}}}}
        report = counters.account([core(1, 100)], {1: 100}, moved)
        self.assertEqual((report["unexplained"], report["drops_of_others"]), (0, 1))
        report = counters.account([core(1, 100)], {1: 97}, moved)
        self.assertEqual((report["unexplained"], report["drops_of_others"]), (2, 0))

    def test_more_frames_than_were_sent_are_reported(self):
        self.assertEqual(counters.account([core(1, 100)], {1: 102}, NOTHING)["unexplained"], -2)

    def test_the_backlog_of_the_whole_machine_explains_no_more_than_is_missing(self):
        report = counters.account([core(1, 100)], {1: 90}, NOTHING | {"softnet": 500})
        self.assertEqual(report["drops"], {"softnet backlog": 10})
        self.assertEqual(report["unexplained"], 0)
        self.assertEqual(counters.account([core(1, 100)], {1: 100}, NOTHING | {"softnet": 500})["drops"], {})

    def test_a_full_ring_that_both_ends_of_the_wire_count_is_one_drop(self):
        devices = {"outside": {"eth0": {"tx_dropped": 40}}, "node": {"eth0": {"rx_dropped": 45}, "veth1": {"tx_dropped": 2}}}
        drops = counters.drops_by_reason(NOTHING | {"devices": devices}, WIRE)
        self.assertEqual(drops, {"outside: eth0 tx_dropped": 40, "node: eth0 rx_dropped": 5, "node: veth1 tx_dropped": 2})

    def test_without_a_count_at_the_other_end_nothing_is_claimed(self):
        report = counters.account([core(1, 100)], None, NOTHING | {"softnet": 3})
        self.assertIsNone(report["delivered"])
        self.assertIsNone(report["unexplained"])
        self.assertEqual(report["drops"], {"softnet backlog": 3})


class Time(unittest.TestCase):
    def test_waiting_for_the_pace_is_not_a_cost(self):
        report = counters.account([core(1, 1000, elapsed_ns=1_000_000, idle_ns=400_000)], {1: 500}, NOTHING)
        self.assertAlmostEqual(report["ns_per_sent"], 600)
        self.assertAlmostEqual(report["ns_per_delivered"], 1200)
        self.assertAlmostEqual(report["sent_per_second"], 1e6)
        self.assertAlmostEqual(report["cores"][0]["idle_percent"], 40)

    def test_cores_add_up_in_frames_and_in_time(self):
        report = counters.account([core(0, 1000, 1_000_000), core(1, 3000, 1_500_000)], {0: 1000, 1: 3000}, NOTHING)
        self.assertAlmostEqual(report["sent_per_second"], 1e6 + 2e6)
        self.assertAlmostEqual(report["ns_per_sent"], 2_500_000 / 4000)
        self.assertAlmostEqual(report["cores"][1]["ns_per_delivered"], 500)

    def test_too_few_frames_to_time_give_no_rate(self):
        report = counters.account([{"cpu": 1, "sent": 5, "timed_frames": 0, "elapsed_ns": 0, "idle_ns": 0}], {1: 5}, NOTHING)
        self.assertIsNone(report["sent_per_second"])
        self.assertIsNone(report["ns_per_delivered"])
        self.assertIn("delivered", counters.table("title", report))


class Table(unittest.TestCase):
    def test_a_machine_that_only_watches_shows_its_devices_and_no_sender(self):
        report = counters.account([], {0: 7}, NOTHING) | {"devices": {"eth1": {"rx_packets": 9, "tx_packets": 0}}}
        self.assertEqual([line.split() for line in counters.table("watch", report).splitlines()],
                         [["watch"], ["eth1", "rx_packets", "9"], ["delivered", "7"]])


class Reading(unittest.TestCase):
    def test_only_what_moved_counts_and_a_new_counter_starts_at_zero(self):
        before = {"devices": {"eth0": {"tx_dropped": 5}}, "verdicts": {"A": ("drop", 2)}}
        after = {"devices": {"eth0": {"tx_dropped": 7}, "veth1": {"tx_dropped": 4}}, "verdicts": {"A": ("drop", 9), "B": ("fast", 1)}}
        self.assertEqual(counters.difference(before, after),
                         {"devices": {"eth0": {"tx_dropped": 2}, "veth1": {"tx_dropped": 4}},
                          "verdicts": {"A": ("drop", 7), "B": ("fast", 1)}})

    def test_the_kernels_tables_are_read_by_name(self):
        found = counters.parse_snmp("Udp: InDatagrams NoPorts\nUdp: 12 3\nIp: InDiscards\nIp: 4", "Udp6NoPorts                 \t5")
        self.assertEqual(found, {"UdpInDatagrams": 12, "UdpNoPorts": 3, "IpInDiscards": 4, "Udp6NoPorts": 5})

    def test_the_backlogs_drops_are_the_second_hexadecimal_column(self):
        self.assertEqual(counters.parse_softnet("0000ffff 0000000a 00000000\n00000001 00000010 00000000\n"), 26)

    def test_rates_are_written_as_people_write_them(self):
        self.assertEqual([counters.parse_rate(text) for text in ("500000", "500k", "1.5M")], [5e5, 5e5, 1.5e6])
        for wrong in ("0", "-5", "fast", "5G", "1.5.2k", ""):
            with self.assertRaises(ValueError):
                counters.parse_rate(wrong)


class Pktgen(unittest.TestCase):
    STREAM = generators.Stream("node", "eth0", "02:00:00:00:00:01", "192.0.2.1", "192.0.2.2", 2004, 4)

    @staticmethod
    def amount(**changed):
        usual = {"size": 60, "flows": 10, "threads": 4, "first_cpu": 0, "rate": 0, "count": 0, "seconds": 1, "burst": 64}
        return generators.Amount(**(usual | changed))

    def test_threads_share_all_flows_out_and_none_twice(self):
        shares = [generators.flows_of_thread(10, 4, number) for number in range(4)]
        ports = [port for first, count in shares for port in range(first, first + count)]
        self.assertEqual(ports, list(range(10)))

    def test_the_upper_source_port_is_exclusive_unless_there_is_one(self):
        lines = generators.pktgen_commands(self.STREAM, self.amount(threads=1), 0, False)
        self.assertIn("udp_src_min 20000", lines)
        self.assertIn("udp_src_max 20010", lines)
        self.assertIn("udp_src_max 20000", generators.pktgen_commands(self.STREAM, self.amount(flows=1, threads=1), 0, False))

    def test_a_frame_behind_which_programs_write_is_never_shared(self):
        lines = generators.pktgen_commands(self.STREAM, self.amount(), 0, False)
        self.assertIn("flag !SHARED", lines)
        self.assertFalse([line for line in lines if line.startswith("burst")])
        self.assertIn("burst 64", generators.pktgen_commands(self.STREAM, self.amount(), 0, True))

    def test_the_rate_is_shared_by_the_threads(self):
        self.assertIn("ratep 250", generators.pktgen_commands(self.STREAM, self.amount(rate=1000), 0, False))
        self.assertFalse([line for line in generators.pktgen_commands(self.STREAM, self.amount(), 0, False) if line.startswith("ratep")])

    def test_of_a_tunnel_it_sends_the_outer_frame_where_a_program_can_write_the_rest(self):
        tunnel = generators.Tunnel(4711, "198.51.100.1", "198.51.100.2", "02:00:00:00:00:09")
        stream = generators.Stream("node", "eth0", "02:00:00:00:00:01", "fd00::1", "fd00::2", 84, 6, source_mac="02:00:00:00:00:03",
                                   tunnel=tunnel)
        lines = generators.pktgen_commands(stream, self.amount(size=78, threads=1), 0, False)
        for line in ("pkt_size 128", "dst_mac 02:00:00:00:00:09", "src_min 198.51.100.1", "dst_min 198.51.100.2", "udp_dst_min 4789",
                     "udp_src_min 20000", "xmit_mode queue_xmit", "flag !SHARED"):
            self.assertIn(line, lines)
        self.assertFalse([line for line in lines if line == "flag UDPCSUM" or line.startswith(("src_mac", "dst6", "src6"))])
        words = generators.frame_words(stream, self.amount(size=78))
        for name, value in (("--size", "78"), ("--src", "fd00::1"), ("--dst-mac", "02:00:00:00:00:09"), ("--outer-src", "198.51.100.1"),
                            ("--inner-dst-mac", "02:00:00:00:00:01"), ("--vni", "4711"), ("--flows", "10")):
            self.assertEqual(words[words.index(name) + 1], value)

    def test_without_a_tunnel_the_device_gets_whole_frames_with_a_checksum(self):
        lines = generators.pktgen_commands(self.STREAM, self.amount(), 0, False)
        self.assertIn("flag UDPCSUM", lines)
        self.assertFalse([line for line in lines if line.startswith("xmit_mode")])

    def test_its_answer_is_read(self):
        text = ("Params: count 100000\nCurrent:\n     pkts-sofar: 100000  errors: 2\n"
                "Result: OK: 15430(c15405+d25) usec, 100000 (60byte,0frags)\n  6480562pps\n")
        self.assertEqual(generators.parse_pktgen(text, 3), core(3, 100002, 15_430_000, 25_000) | {"errors": 2})
        with self.assertRaisesRegex(generators.Failure, "cpu 3: Idle"):
            generators.parse_pktgen("pkts-sofar: 0  errors: 0\nResult: Idle\n", 3)


class Arguments(unittest.TestCase):
    def test_each_thread_gets_a_flow(self):
        self.assertEqual(options_of("published", "-t", "3").flows, 3)
        with self.assertRaises(SystemExit):
            options_of("published", "-t", "3", "--flows", "2")

    def test_a_count_may_take_its_time(self):
        self.assertEqual(options_of("published").seconds, 3)
        self.assertEqual(options_of("published", "-n", "1000000").seconds, 600)

    def test_a_device_needs_where_to(self):
        self.assertEqual(options_of("dev", "-i", "eth1", "-m", "02:00:00:00:00:01", "-d", "192.0.2.2", "-r", "1M").rate, 1e6)
        for words in (("dev", "-i", "eth1"), ("published", "-i", "eth1"), ("nowhere",), ("published", "-r", "much"), ("decap", "-c", "3")):
            with self.assertRaises(SystemExit):
                options_of(*words)

    def test_what_would_do_nothing_is_refused(self):
        self.assertEqual(options_of("published", "-F", "10000").flows, 10000)
        self.assertEqual(options_of("watch", "--sink", "-p", "8080", "--root", "/").dst_port, 8080)
        self.assertEqual(options_of("watch").dst_port, 9)
        for words in (("published", "-F", "10001"), ("published", "-p", "80"), ("encap", "--src", "192.0.2.1"), ("all", "--root", "/"),
                      ("published", "--sink"), ("watch", "-r", "1k"), ("watch", "-n", "5"), ("watch", "-s", "100"), ("watch", "-F", "2"), ("watch", "-b", "1"), ("watch", "--src-mac", "02:00:00:00:00:01")):
            with self.assertRaises(SystemExit, msg=" ".join(words)):
                options_of(*words)


if __name__ == "__main__":
    unittest.main()
