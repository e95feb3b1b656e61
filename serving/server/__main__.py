"""`python -m serving.server [--host 127.0.0.1] [--port 3000]`: the service, without BentoML's command."""

import argparse
import sys

from alexnet.errors import UserError
from serving import logs, settings
from serving.server.supervisor import serve

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="serving.server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)
    options = parser.parse_args()
    try:
        found = settings.load()
        logs.configure(found.log_format)
        serve(options.host, options.port, found)
    except UserError as error:
        sys.exit(f"alexnet: {error}")
