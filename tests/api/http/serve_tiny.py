"""Serves the small schema on a socket that is open already: `python -m tests.api.http.serve_tiny DESCRIPTOR`."""

import sys

import uvicorn

from api.commands.serve import SERVED
from tests.api.http.tiny import app

if __name__ == "__main__":
    uvicorn.run(app(open_=True), fd=int(sys.argv[1]), **SERVED)
