"""Serve a network over HTTP: `python serve.py net.csr 8000`, then `curl --data-binary @images.npy localhost:8000`.

POST one array as NumPy saves it (.npy); the answer is every output of the network as .npz. Requests run side by side.
"""

import io
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

import sparsemark


class Handler(BaseHTTPRequestHandler):
    """Answers an array with what the network makes of it."""

    network: sparsemark.Loaded

    def do_POST(self) -> None:
        """Run the network; an array that it cannot take is answered by 400 and the reason."""
        body, answer = self.rfile.read(int(self.headers.get("Content-Length", 0))), io.BytesIO()
        try:
            np.savez(answer, *self.network(np.load(io.BytesIO(body), allow_pickle=False)))
            self.send_response(200)
        except (ValueError, EOFError, sparsemark.UnsupportedError) as error:
            answer.write(str(error).encode())
            self.send_response(400)
        self.end_headers()
        self.wfile.write(answer.getvalue())


if __name__ == "__main__":
    Handler.network = sparsemark.load(sys.argv[1])
    server = ThreadingHTTPServer(("localhost", int(sys.argv[2])), Handler)
    sys.stderr.write(f"{Handler.network!r} at http://localhost:{server.server_port}\n")
    server.serve_forever()
