"""Counts an Autobahn report by group, and fails on anything that is not OK or INFORMATIONAL."""
import collections
import json
import sys

GOOD = {"OK", "INFORMATIONAL"}


def main(title, path):
    with open(path) as report:
        (cases,) = json.load(report).values()
    groups = collections.defaultdict(collections.Counter)
    bad = []
    for case, result in cases.items():
        outcome = {result["behavior"], result["behaviorClose"]}
        groups[int(case.split(".")[0])].update([result["behavior"]])
        if not outcome <= GOOD:
            bad.append(f"{case}: {result['behavior']}, close {result['behaviorClose']}")
    print(f"{title}: {len(cases)} cases")
    for group, counts in sorted(groups.items()):
        print(f"  group {group:2}  " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    for line in bad:
        print(f"  {line}")
    return 1 if bad or not cases else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
