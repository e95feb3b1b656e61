"""Try to break the service: fuzzing, a soak test, SIGTERM under load, and attacks beside ordinary requests.

    python -m benchmarks.reliability fuzz   [--examples 6000] [--seconds 600]
    python -m benchmarks.reliability soak   [--clients 64] [--seconds 60]
    python -m benchmarks.reliability drain  [--times 20] [--in-flight 32]
    python -m benchmarks.reliability shutdown [--times 200] [--clients 16] [--workers 2]
    python -m benchmarks.reliability attack [--seconds 60] [--only NAME ...]
    python -m benchmarks.reliability report

Each but the last starts the real service, writes `benchmarks/results/reliability-<name>.json` and the page
docs/guide/reliability.md, and exits with 1 when something broke. `report` writes the page alone.
"""

import argparse
import json
import sys

from pydantic_core import to_jsonable_python

from alexnet import environment, files
from alexnet.paths import MODEL
from benchmarks.records import RESULTS
from benchmarks.reliability import page
from benchmarks.reliability.attack import AttackResult, attack
from benchmarks.reliability.drain import Drained, drain
from benchmarks.reliability.fuzz import Fuzzed, fuzz
from benchmarks.reliability.shutdown import Shutdowns, shut_down
from benchmarks.reliability.soak import Soaked, soak


def main() -> int:
    """Run one of the commands; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=(*page.NAMES, "report"))
    parser.add_argument("--examples", type=int, default=6000)
    parser.add_argument("--seconds", type=float, help="default: 600 for fuzz, 60 for the others")
    parser.add_argument("--clients", type=int, help="default: 64 for soak, 16 for shutdown")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--times", type=int, help="default: 20 for drain, 200 for shutdown")
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="attacks whose names hold one of these")
    options = parser.parse_args()
    if options.what == "report":
        page.write()
        return 0
    result: Fuzzed | Soaked | Drained | Shutdowns | AttackResult
    if options.what == "fuzz":
        result = fuzz(options.examples, options.seconds or 600)
    elif options.what == "soak":
        result = soak(options.clients or 64, options.seconds or 60)
    elif options.what == "drain":
        result = drain(options.times or 20, options.in_flight)
    elif options.what == "shutdown":
        result = shut_down(options.times or 200, options.clients or 16, options.workers)
    else:
        result = attack(options.seconds or 60, options.only)
    facts = environment.describe("bentoml", "uvicorn", "starlette", "pillow", "onnxruntime-gpu", "onnxruntime")
    known = {"environment": facts, "model": files.sha256(MODEL), "result": to_jsonable_python(result)}
    if not options.only:  # a part is no result to publish
        files.write_json(RESULTS / f"reliability-{options.what}.json", known)
        page.write()
    print(json.dumps(known["result"], indent=2))
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
