"""Tests of check.py: what is good passes, and each way of being worse is found.

A report is made for every case as expected.txt wants it; each test then spoils one case.
"""

import collections
import contextlib
import io
import json
import pathlib
import tempfile
import unittest

import check


def write_report(folder, role, spoil=lambda entries, details: None):
    """A report in which all is as expected but what `spoil` changes."""
    entries, details = {}, {}
    for case, expected in check.expectations(role).items():
        entries[case] = {
            "behavior": expected.behavior,
            "behaviorClose": expected.behavior,
            "remoteCloseCode": expected.close,
            "reportfile": f"case_{case}.json",
        }
        details[case] = {"wasClean": True, "wasNotCleanReason": None, "rxFrameStats": {"8": 1}}
    spoil(entries, details)
    for case, detail in details.items():
        (folder / f"case_{case}.json").write_text(json.dumps(detail))
    (folder / "index.json").write_text(json.dumps({"agent": entries}))


def faults_of(spoil=lambda entries, details: None, role="server", selection="all"):
    """How many cases are not as expected, and what is said of them."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_report(folder, role, spoil)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            _, failed = check.check(folder, role, selection)
    return failed, said.getvalue()


def set_behavior(case, column, behavior):
    return lambda entries, details: entries[case].update({column: behavior})


def drop(case):
    """What the suite says of a connection that was merely dropped, and calls OK."""

    def spoil(entries, details):
        entries[case]["remoteCloseCode"] = None
        details[case] = {"wasClean": False, "wasNotCleanReason": "dropped", "rxFrameStats": {}}

    return spoil


class TheExpectation(unittest.TestCase):
    def test_is_of_all_517_cases_by_group(self):
        groups = collections.Counter(case.split(".")[0] for case in check.expectations("server"))
        sizes = {"1": 16, "2": 11, "3": 7, "4": 10, "5": 20, "6": 145, "7": 37, "9": 54, "10": 1}
        self.assertEqual(groups, {**sizes, "12": 90, "13": 126})

    def test_differs_by_role_only_for_the_code_that_a_server_may_not_send(self):
        server, client = check.expectations("server"), check.expectations("client")
        different = {case for case in server if server[case] != client[case]}
        self.assertEqual(different, {"7.7.8"})
        self.assertEqual((server["7.7.8"].close, client["7.7.8"].close), (1000, 1010))


    def test_wants_every_case_implemented(self):
        for role in ("server", "client"):
            for mode in ("off", "shared", "dedicated"):
                expected = check.expectations(role, mode).values()
                unimplemented = sum(e.behavior == "UNIMPLEMENTED" for e in expected)
                self.assertEqual(unimplemented, 0)


class AReport(unittest.TestCase):
    def test_as_expected_passes_in_both_roles(self):
        for role in ("server", "client"):
            self.assertEqual(faults_of(role=role)[0], 0, role)

    def test_with_one_case_worse_fails_for_that_case(self):
        spoilt = {
            "missing": ("1.1.1", lambda entries, details: entries.pop("1.1.1")),
            "non-strict": ("6.4.1", set_behavior("6.4.1", "behavior", "NON-STRICT")),
            "failed": ("9.1.6", set_behavior("9.1.6", "behavior", "FAILED")),
            "unimplemented": ("12.1.1", set_behavior("12.1.1", "behavior", "UNIMPLEMENTED")),
            "informational": ("7.1.5", set_behavior("7.1.5", "behavior", "INFORMATIONAL")),
            "wrong code": ("7.9.1", set_behavior("7.9.1", "behaviorClose", "WRONG CODE")),
            "another close code": ("3.1", set_behavior("3.1", "remoteCloseCode", 1011)),
            "dropped": ("2.5", drop("2.5")),
            "dropped where the Close has no code": ("7.3.1", drop("7.3.1")),
            "unclean": ("1.2.1", lambda entries, details: details["1.2.1"].update(wasClean=False)),
        }
        for name, (case, spoil) in spoilt.items():
            with self.subTest(name):
                failed, said = faults_of(spoil)
                self.assertEqual(failed, 1)
                self.assertIn(f"    {case}: ", said)

    def test_with_a_case_that_turned_out_better_passes(self):
        self.assertEqual(faults_of(set_behavior("7.1.6", "behavior", "OK"))[0], 0)

    def test_with_cases_that_were_not_selected_fails(self):
        self.assertEqual(faults_of(selection="plain")[0], 90 + 126)

    def test_that_was_never_written_fails_in_every_case(self):
        with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(check.check(pathlib.Path(name), "server", "subset"), (0, 397))


if __name__ == "__main__":
    unittest.main()
