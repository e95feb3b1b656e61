"""What the container costs: bytes, the time until it is ready, memory, and requests per second on one CPU.

    python -m benchmarks.container measure [--times 5] [--seconds 20]
    python -m benchmarks.container report

`measure` builds the CPU image, runs it under the limits of deploy/kubernetes/ and writes
`benchmarks/results/container.json`; `report` writes the tables of docs/guide/deployment.md from that file.
"""

import argparse
import json

from alexnet import files
from benchmarks.container.measure import PAGE, RESULT, measure, report


def main() -> int:
    """Run a command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.container", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("command", choices=("measure", "report"))
    parser.add_argument("--times", type=int, default=5, help="starts (default: 5)")
    parser.add_argument("--seconds", type=float, default=20, help="of load with each number of clients (default: 20)")
    options = parser.parse_args()
    if options.command == "measure":
        result = measure(options.times, options.seconds)
        files.write_json(RESULT, result)
        print(json.dumps(result["loads"], indent=2))
        return int(result["exit_code"] != 0)
    report(PAGE, json.loads(RESULT.read_text()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
