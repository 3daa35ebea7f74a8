"""bench/compare: what it makes of answers. No root, no machine."""

import os
import sys
import unittest

BENCH = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "..", "..", "bench")
sys.dont_write_bytecode = True
sys.path[:0] = [BENCH]

from comparison import growth, judging, metrics, quoted  # noqa: E402
from comparison.metrics import METRICS  # noqa: E402
from comparison.targets import Target  # noqa: E402
from comparison.variants import PATHS, VARIANTS  # noqa: E402
from netlab import Failure  # noqa: E402

TCP_RR = [metric for metric in METRICS if metric.name == "tcp_rr"]


def results_of(**microseconds):
    """Of tcp_rr on the path published: a list of rounds for each variant ("host_again" is host-again)."""
    raw = {("published", "tcp_rr", name.replace("_", "-")): [{"p50_ns": value * 1e3, "p99_ns": value * 2e3} for value in values]
           for name, values in microseconds.items()}
    return judging.summarise(raw, VARIANTS, TCP_RR)


def verdict(limit, bound="<=", **microseconds):
    return judging.judge(results_of(**microseconds), [Target("published", "tcp_rr", "fastnet", "host", bound, limit)])[0]["verdict"]


class Figures(unittest.TestCase):
    def test_a_ratio_is_that_of_the_medians_and_its_spread_that_of_single_rounds(self):
        rows = results_of(host=[4, 5, 6], fastnet=[5, 6, 6])["published"]["tcp_rr"]
        found = rows["fastnet"]["ratios"]["host"]
        self.assertEqual(found["ratio"], 6 / 5)
        self.assertEqual((found["least"], found["most"]), (1.0, 1.25))

    def test_p99_is_a_reading_of_the_same_answers(self):
        self.assertEqual(results_of(host=[4, 5, 6])["published"]["tcp_rr.p99"]["host"]["median"], 10)

    def test_only_what_was_measured_in_the_same_round_is_paired(self):
        raw = {("published", "tcp_rr", "host"): [{"p50_ns": 1, "p99_ns": 1, "round": 0}, {"p50_ns": 4, "p99_ns": 4, "round": 2}],
               ("published", "tcp_rr", "fastnet"): [{"p50_ns": 5, "p99_ns": 5, "round": 1}, {"p50_ns": 6, "p99_ns": 6, "round": 2}]}
        found = judging.summarise(raw, VARIANTS, TCP_RR)["published"]["tcp_rr"]["fastnet"]["ratios"]["host"]
        self.assertEqual((found["pairs"], found["least"], found["most"]), (1, 1.5, 1.5))

    def test_noise_is_how_far_the_baseline_is_from_itself(self):
        self.assertAlmostEqual(judging.noise(results_of(host=[5], host_again=[5.5]))["published"]["tcp_rr"], 0.1)

    def test_lost_frames_and_failed_connections_are_told(self):
        raw = {("published", "inject", "fastnet"): [{"sent": 1000, "delivered": 900}],
               ("published", "crr_fin", "fastnet"): [{"transactions": 1000, "failed": 5}],
               ("published", "tcp_rr", "fastnet"): [{"transactions": 1000}]}
        self.assertEqual(judging.doubts(raw), ["published/fastnet inject: only 900 of 1000 frames were delivered",
                                               "published/fastnet crr_fin: failed 5 of 1000"])


class Verdicts(unittest.TestCase):
    def test_a_clear_ratio_is_met_or_missed(self):
        self.assertEqual(verdict(1.05, host=[5] * 5, fastnet=[5] * 5), "met")
        self.assertEqual(verdict(1.05, host=[5] * 5, fastnet=[6] * 5), "MISSED")
        self.assertEqual(verdict(0.98, ">=", host=[5] * 5, fastnet=[5] * 5), "met")
        self.assertEqual(verdict(0.98, ">=", host=[5] * 5, fastnet=[4] * 5), "MISSED")

    def test_within_a_hundredth_of_the_limit_no_run_can_tell(self):
        self.assertEqual(verdict(1.05, host=[1.0] * 5, fastnet=[1.045] * 5), "at the limit")
        self.assertEqual(verdict(1.05, host=[1.0] * 5, fastnet=[1.055] * 5), "at the limit")

    def test_noise_of_the_baseline_widens_what_cannot_be_told(self):
        self.assertEqual(verdict(1.05, host=[1.0] * 5, fastnet=[1.10] * 5), "MISSED")
        self.assertEqual(verdict(1.05, host=[1.0] * 5, host_again=[0.92] * 5, fastnet=[1.10] * 5), "at the limit")

    def test_rounds_that_differ_widen_it_too(self):
        self.assertEqual(verdict(1.05, host=[1.0] * 5, fastnet=[0.8, 0.9, 1.12, 1.2, 1.4]), "at the limit")

    def test_a_few_rounds_decide_nothing(self):
        self.assertEqual(verdict(1.05, host=[5] * 4, fastnet=[5] * 4), "too few rounds")
        self.assertEqual(verdict(1.05, host=[5] * 5, fastnet=[5] * 4), "too few rounds")

    def test_what_was_not_measured_has_no_verdict(self):
        self.assertEqual(verdict(1.05, host=[5]), "not measured")

    def test_only_met_against_missed_is_a_contradiction(self):
        def judged(text):
            return [{"path": "p", "reading": "r", "variant": "v", "against": "a", "bound": "<=", "limit": 1, "verdict": text}]
        self.assertEqual(len(judging.flips(judged("met"), judged("MISSED"))[0]), 1)
        for other in ("met", "at the limit", "not measured"):
            self.assertEqual(judging.flips(judged("met"), judged(other))[0], [])


class Wrk(unittest.TestCase):
    TEXT = """Running 1s test @ http://10.201.0.1:2005/
  Latency Distribution
     50%  248.00us
     75%  300.00us
     90%    1.02ms
     99%    5.44ms
  65465 requests in 1.00s, 54.44MB read
Requests/sec:  65464.52
"""

    def test_its_rate_and_latencies_are_read(self):
        self.assertEqual(metrics.parse_wrk(self.TEXT), {"requests_per_second": 65464.52, "transactions": 65465, "p50_ns": 248_000,
                                                        "p99_ns": 5_440_000, "failed": 0})

    def test_errors_are_counted(self):
        errors = "  Socket errors: connect 1, read 2, write 0, timeout 3\n  Non-2xx or 3xx responses: 4\n"
        self.assertEqual(metrics.parse_wrk(self.TEXT + errors)["failed"], 10)

    def test_an_answer_without_figures_is_a_failure(self):
        with self.assertRaises(Failure):
            metrics.parse_wrk("unable to connect to 10.201.0.1:2005 Connection refused\n")


class Choice(unittest.TestCase):
    def test_every_path_has_its_baseline_twice_and_fastnet(self):
        for path, (base, _) in PATHS.items():
            names = [variant.name for variant in VARIANTS if variant.path == path]
            self.assertLessEqual({base, f"{base}-again", "fastnet"}, set(names), path)
            self.assertEqual(len(names), len(set(names)), path)

    def test_single_ports_are_distinct_make_no_range_and_stay_clear_of_the_called_ones(self):
        ports = growth.single_ports(9_999)
        outer = [port for _, port, _ in ports]
        self.assertEqual(len(set(outer)), 9_999)
        self.assertTrue(all(second - first > 1 for first, second in zip(outer, outer[1:])))
        self.assertTrue(3_000 < min(outer) and max(outer) < 65_536)


class Growth(unittest.TestCase):
    def test_rows_have_the_ratio_to_the_first_count_and_a_gap_where_nothing_was_measured(self):
        def row(median):
            return {"unit": "us", "median": median}
        by_variant = {"host": {"1": row(20)}, "iptables": {"1": row(40), "10000": row(600)}}
        found = {"ports": {"crr_fin": by_variant}, "flows": {}, "flows_in_use": {}}
        (_, reading, unit, counts, lines), = growth.rows(found)
        self.assertEqual((reading, unit, counts), ("crr_fin", "us", [1, 10_000]))
        self.assertEqual(lines, [("host", [(20, 1), (None, None)]), ("iptables", [(40, 1), (600, 15)])])


class Quotation(unittest.TestCase):
    def test_every_line_has_every_column_whatever_was_measured(self):
        for document in ({"results": {}}, {"results": results_of(host=[5], fastnet=[6])}):
            for line in quoted.rows(document):
                self.assertEqual(len(line), len(quoted.COLUMNS), line)


if __name__ == "__main__":
    unittest.main()
