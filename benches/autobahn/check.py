#!/usr/bin/env python3
"""Compares a report of the Autobahn suite with expected.txt beside this file.

    check.py list SELECTION
        prints the ids of the cases, one a line
    check.py report FOLDER --role ROLE [--deflate MODE] [--select SELECTION] [--counts FILE]
        reads FOLDER/index.json and each case's file; exits with 1 if anything is worse; adds a line
        `PASSED FAILED WHAT` to FILE

SELECTION: plain (groups 1 to 10), sample (of each group of permessage-deflate the cases 1 to 7 and
11, one of each kind), subset (both), all.

The suite itself is content with much that is not good enough here: it exits with 0 whatever
happens, leaves out cases that it could not run, and calls a connection that was merely dropped OK
where a Close code was due. So a case passes only if it is there, has the expected behavior in both
columns, ended with the expected Close code, and TCP ended cleanly.
"""

import argparse
import collections
import json
import pathlib
import sys

FIRST_DEFLATE_GROUP = 12
DEFLATE_SAMPLE = {1, 2, 3, 4, 5, 6, 7, 11}

SELECTIONS = ["plain", "sample", "subset", "all"]

Expected = collections.namedtuple("Expected", "behavior close")


def numbers(case):
    return [int(number) for number in case.split(".")]


def expand(pattern):
    """The ids that `6.1.1-3` stands for."""
    stem, _, last = pattern.rpartition(".")
    first, _, end = last.partition("-")
    return [f"{stem}.{number}" for number in range(int(first), int(end or first) + 1)]


def expectations(role, mode="off"):
    """What is expected of each case, by its id, in the order of the suite."""
    expected = {}
    path = pathlib.Path(__file__).with_name("expected.txt")
    for line in path.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        of_role, behavior, close, *patterns = line.split()
        if of_role not in ("both", role, f"{role}-{mode}"):
            continue
        close = None if close == "empty" else int(close)
        for pattern in patterns:
            for case in expand(pattern):
                expected[case] = Expected(behavior, close)
    return dict(sorted(expected.items(), key=lambda item: numbers(item[0])))


def is_selected(case, selection):
    group, *_, last = numbers(case)
    if selection == "all":
        return True
    if group < FIRST_DEFLATE_GROUP:
        return selection in ("plain", "subset")
    return selection in ("sample", "subset") and last in DEFLATE_SAMPLE


def faults(expected, entry, case_file):
    """What is wrong with one case, in words."""
    for column in ("behavior", "behaviorClose"):
        # A case that the suite leaves open may turn out well.
        if entry[column] not in (expected.behavior, "OK"):
            yield f"{column} is {entry[column]}, not {expected.behavior}"
    detail = json.loads(case_file.read_text())
    if not detail["wasClean"]:
        yield f"the connection did not end cleanly: {detail['wasNotCleanReason']}"
    code = entry["remoteCloseCode"]
    if code != expected.close:
        yield f"Close code {code}, not {expected.close}"
    if "8" not in detail["rxFrameStats"]:
        yield "dropped without a Close frame"


def read_entries(folder):
    """The report's entry for each case; none, if the suite did not come to write one."""
    index = folder / "index.json"
    agents = json.loads(index.read_text()) if index.exists() else {}
    if len(agents) > 1:
        sys.exit(f"check.py: {index} is to be of one agent, and is of {len(agents)}")
    return next(iter(agents.values()), {})


def check(folder, role, selection, mode="off"):
    """Prints what is wrong and the counts; gives how many cases are well and how many are not."""
    entries = read_entries(folder)
    every = expectations(role, mode)
    expected = {case: every[case] for case in every if is_selected(case, selection)}
    wrong = []
    for case, expectation in expected.items():
        if case not in entries:
            wrong.append((case, "it is missing from the report"))
            continue
        entry = entries[case]
        case_file = folder / entry["reportfile"]
        wrong += [(case, fault) for fault in faults(expectation, entry, case_file)]
    for case in entries.keys() - expected.keys():
        wrong.append((case, "nothing is expected of it: add it to expected.txt"))
    for case, fault in wrong:
        print(f"    {case}: {fault}")
    counts = collections.Counter(entry["behavior"] for entry in entries.values())
    counted = ", ".join(f"{number} {behavior}" for behavior, number in counts.most_common())
    failed = len({case for case, _ in wrong})
    print(f"    {len(expected)} cases: {counted}; {failed} not as expected")
    return len(expected) - failed, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list")
    listing.add_argument("selection", choices=SELECTIONS)
    report = commands.add_parser("report")
    report.add_argument("folder", type=pathlib.Path)
    report.add_argument("--role", choices=["server", "client"], required=True)
    report.add_argument("--deflate", choices=["off", "shared", "dedicated"], default="off")
    report.add_argument("--select", choices=SELECTIONS, default="all")
    report.add_argument("--counts", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.command == "list":
        print(*(c for c in expectations("server") if is_selected(c, arguments.selection)), sep="\n")
        return
    folder, role, mode = arguments.folder, arguments.role, arguments.deflate
    passed, failed = check(folder, role, arguments.select, mode)
    if arguments.counts:
        with arguments.counts.open("a") as file:
            print(passed, failed, f"autobahn-{role}-{mode}", file=file)
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
